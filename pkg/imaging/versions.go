package imaging

/*
#include "kernel.h"
*/
import "C"

import (
	_ "embed"
	"unsafe"

	"github.com/h2non/bimg"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// One grey picture in each codec that HEIF files come in.
var (
	//go:embed sample.heic
	sampleHEIC []byte
	//go:embed sample.avif
	sampleAVIF []byte
)

// discover finds out what the libvips that runs can do. A codec of HEIF files
// may be missing though its loader and saver are there, so those are tried.
func discover() Versions {
	v := Versions{
		Bimg:    bimg.Version,
		Libvips: C.GoString(C.vips_version_string()),
		Inputs:  []string{},
		Outputs: []ladder.Format{},
	}
	for _, t := range []bimg.ImageType{bimg.JPEG, bimg.PNG, bimg.WEBP, bimg.GIF, bimg.HEIF, bimg.AVIF, bimg.TIFF} {
		if l := loaders[t]; knows(l.operation) && decodes(t) {
			v.Inputs = append(v.Inputs, l.name)
		}
	}
	for _, o := range []struct {
		format    ladder.Format
		operation string
	}{
		{ladder.WebP, "webpsave_buffer"},
		{ladder.JPEG, "jpegsave_buffer"},
		{ladder.AVIF, "heifsave_buffer"},
	} {
		if knows(o.operation) && encodes(o.format) {
			v.Outputs = append(v.Outputs, o.format)
		}
	}
	return v
}

func decodes(t bimg.ImageType) bool {
	switch t {
	case bimg.HEIF:
		return readsHEIF(sampleHEIC)
	case bimg.AVIF:
		return readsHEIF(sampleAVIF)
	default:
		return true
	}
}

func readsHEIF(file []byte) bool {
	return C.kernel_reads_heif(unsafe.Pointer(&file[0]), C.size_t(len(file))) != 0
}

// encodes tries an encoder on a small black picture.
func encodes(f ladder.Format) bool {
	const side, bands = 64, 3
	pixels := make([]byte, side*side*bands)
	image := C.vips_image_new_from_memory_copy(unsafe.Pointer(&pixels[0]), C.size_t(len(pixels)),
		side, side, bands, C.VIPS_FORMAT_UCHAR)
	if image == nil {
		C.vips_error_clear()
		return false
	}
	p := picture{image}
	defer p.free()
	file, err := p.encode(ladder.Encoder{Format: f, Quality: 50}, white)
	if err != nil {
		return false // its text was taken out of libvips with it
	}
	file.free()
	return true
}
