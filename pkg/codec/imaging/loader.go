package imaging

/*
#include "kernel.h"
*/
import "C"

import (
	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
)

// loader is a decoder of libvips.
type loader struct {
	kernel    C.KernelLoader
	name      string // of the format, as in ladder.Source
	operation string // libvips' name for it
	animated  bool   // decode all frames, not only the first image
}

const heifLoader = C.KERNEL_HEIF

// loaders maps AVIF to HEIF: one decoder reads both, and the header
// distinguishes them.
var loaders = map[string]loader{
	imagefile.JPEG: {C.KERNEL_JPEG, "jpeg", "jpegload_source", false},
	imagefile.PNG:  {C.KERNEL_PNG, "png", "pngload_source", false},
	imagefile.WebP: {C.KERNEL_WEBP, "webp", "webpload_source", true},
	imagefile.HEIC: {C.KERNEL_HEIF, "heic", "heifload_source", false},
	imagefile.AVIF: {C.KERNEL_HEIF, "avif", "heifload_source", false},
	imagefile.TIFF: {C.KERNEL_TIFF, "tiff", "tiffload_source", false},
}
