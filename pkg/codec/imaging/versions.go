package imaging

/*
#include "kernel.h"
*/
import "C"

import (
	"embed"
	"unsafe"

	"github.com/h2non/bimg"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Versions describes the engine and its capabilities.
type Versions struct {
	Bimg    string          `json:"bimg"`
	Libvips string          `json:"libvips"` // of the loaded library, not the header compiled against
	Vector  bool            `json:"vector"`  // vector instructions are enabled
	Inputs  []string        `json:"inputs"`  // as in ladder.Source
	Outputs []ladder.Format `json:"outputs"`
	Off     []string        `json:"off"` // parts of the self-test that failed or were skipped: "read heic"
}

// Versions returns the versions and capabilities found by Start.
func (e *Engine) Versions() Versions { return e.versions }

// samples contains one small image per format, named after the format.
//
//go:embed samples
var samples embed.FS

// selfTest decodes and encodes a small image in every format: a loader or saver
// may exist without its codec, or may not run on this processor. It also triggers
// what libraries load on first use.
func selfTest(test func(part string) bool) Versions {
	v := Versions{
		Bimg:    bimg.Version,
		Libvips: C.GoString(C.vips_version_string()),
		Vector:  C.vips_vector_isenabled() != 0,
		Inputs:  []string{},
		Outputs: []ladder.Format{},
		Off:     []string{},
	}
	try := func(part string, works func() bool) bool {
		ok := test(part) && works()
		if !ok {
			v.Off = append(v.Off, part)
		}
		return ok
	}
	for _, format := range []string{
		imagefile.JPEG, imagefile.PNG, imagefile.WebP, imagefile.GIF, imagefile.HEIC, imagefile.AVIF, imagefile.TIFF,
	} {
		if try("read "+format, func() bool { return readsFormat(format) }) {
			v.Inputs = append(v.Inputs, format)
		}
	}
	for _, f := range []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF} {
		if try("write "+string(f), func() bool { return encodes(f) }) {
			v.Outputs = append(v.Outputs, f)
		}
	}
	return v
}

func readsFormat(format string) bool {
	if format == imagefile.GIF {
		return decodesGIF()
	}
	return knows(loaders[format].operation) && decodes(format)
}

func decodes(format string) bool {
	file, err := samples.ReadFile("samples/" + format)
	return err == nil && C.kernel_reads(unsafe.Pointer(&file[0]), C.size_t(len(file))) != 0
}

// encodes tests an encoder on a small black image, which is first shrunk a lot to
// run libvips' vector code.
func encodes(f ladder.Format) bool {
	const side, bands = 64, 3
	pixels := make([]byte, side*side*bands)
	image := C.vips_image_new_from_memory_copy(unsafe.Pointer(&pixels[0]), C.size_t(len(pixels)),
		side, side, bands, C.VIPS_FORMAT_UCHAR)
	if image == nil {
		C.vips_error_clear()
		return false
	}
	p := vipsImage{image}
	defer p.free()
	small, err := p.shrink(ladder.Rung{Width: side / 5, Height: side / 5})
	if err != nil {
		return false // this also removed the message from libvips
	}
	defer small.free()
	file, err := small.encode(ladder.Encoder{Format: f, Quality: 50}, white, false)
	if err != nil {
		return false
	}
	file.free()
	return true
}
