package imaging

/*
#include "kernel.h"
*/
import "C"

import (
	"encoding/binary"

	"github.com/h2non/bimg"
)

// loader is a decoder of libvips.
type loader struct {
	kernel    C.KernelLoader
	name      string // of the format, as in ladder.Source
	operation string // libvips' name for it
	animated  bool   // decode all frames, not only the first image
}

// loaders maps AVIF to HEIF: one decoder reads both, and the header
// distinguishes them.
var loaders = map[bimg.ImageType]loader{
	bimg.JPEG: {C.KERNEL_JPEG, "jpeg", "jpegload_source", false},
	bimg.PNG:  {C.KERNEL_PNG, "png", "pngload_source", false},
	bimg.WEBP: {C.KERNEL_WEBP, "webp", "webpload_source", true},
	bimg.GIF:  {C.KERNEL_GIF, "gif", "gifload_source", true},
	bimg.HEIF: {C.KERNEL_HEIF, "heic", "heifload_source", false},
	bimg.AVIF: {C.KERNEL_HEIF, "avif", "heifload_source", false},
	bimg.TIFF: {C.KERNEL_TIFF, "tiff", "tiffload_source", false},
}

// sniffBytes is how much of a file sniff needs.
const sniffBytes = 512

// sniff selects the decoder by the first bytes of a file.
func sniff(head []byte) (loader, bool) {
	l, ok := loaders[bimg.DetermineImageType(head)]
	C.vips_error_clear() // bimg asks libvips about types it does not know
	if !ok && isHEIF(head) {
		return loaders[bimg.HEIF], true
	}
	return l, ok
}

// heifBrands are the brands of still images in HEVC or AV1, and of files that
// start with one.
var heifBrands = map[string]bool{
	"heic": true, "heix": true, "heim": true, "heis": true, "hevc": true, "hevx": true,
	"mif1": true, "msf1": true, "avif": true, "avis": true,
}

// isHEIF searches all brands of the file, since phones put others first, and
// bimg only knows some major brands.
func isHEIF(head []byte) bool {
	if len(head) < 16 || string(head[4:8]) != "ftyp" {
		return false
	}
	end := min(int64(binary.BigEndian.Uint32(head)), int64(len(head)))
	for at := 8; int64(at+4) <= end; at += 4 {
		if at != 12 && heifBrands[string(head[at:at+4])] { // at 12 is the minor version
			return true
		}
	}
	return false
}
