package imaging

/*
#include "kernel.h"
*/
import "C"

import (
	"encoding/binary"

	"github.com/h2non/bimg"
)

// loader is one of libvips' decoders.
type loader struct {
	kernel    C.KernelLoader
	name      string // of the format, as in ladder.Source
	operation string // libvips' name of it
	animated  bool   // the format's frames are wanted, not only the first picture
}

// loaders has AVIF under HEIF: one decoder reads both, and the header tells
// them apart.
var loaders = map[bimg.ImageType]loader{
	bimg.JPEG: {C.KERNEL_JPEG, "jpeg", "jpegload_source", false},
	bimg.PNG:  {C.KERNEL_PNG, "png", "pngload_source", false},
	bimg.WEBP: {C.KERNEL_WEBP, "webp", "webpload_source", true},
	bimg.GIF:  {C.KERNEL_GIF, "gif", "gifload_source", true},
	bimg.HEIF: {C.KERNEL_HEIF, "heic", "heifload_source", false},
	bimg.AVIF: {C.KERNEL_HEIF, "avif", "heifload_source", false},
	bimg.TIFF: {C.KERNEL_TIFF, "tiff", "tiffload_source", false},
}

// sniffBytes is how much of a file sniff wants to see.
const sniffBytes = 512

// sniff finds the decoder by a file's first bytes.
func sniff(head []byte) (loader, bool) {
	l, ok := loaders[bimg.DetermineImageType(head)]
	C.vips_error_clear() // bimg asks libvips about what it does not know itself
	if !ok && isHEIF(head) {
		return loaders[bimg.HEIF], true
	}
	return l, ok
}

// heifBrands are those of still pictures in HEVC or AV1, and of the files
// that begin with one.
var heifBrands = map[string]bool{
	"heic": true, "heix": true, "heim": true, "heis": true, "hevc": true, "hevx": true,
	"mif1": true, "msf1": true, "avif": true, "avis": true,
}

// isHEIF looks for such a brand among all that the file names, since phones
// put others first, and bimg knows only some that come first.
func isHEIF(head []byte) bool {
	if len(head) < 16 || string(head[4:8]) != "ftyp" {
		return false
	}
	end := min(int64(binary.BigEndian.Uint32(head)), int64(len(head)))
	for at := 8; int64(at+4) <= end; at += 4 {
		if at != 12 && heifBrands[string(head[at:at+4])] { // at 12 is a version
			return true
		}
	}
	return false
}
