package imaging

/*
#include "frames.h"
*/
import "C"

import (
	"bytes"
	"os"
	"time"
	"unsafe"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/codec/imaging/gifanim"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// GIFs are decoded in Go: libvips paints their background, which no browser
// shows.

// webpPlays is the maximum loop count of a WebP. A GIF can have one more, which
// libwebp would write as endless.
const webpPlays = 1<<16 - 1

func probeGIF(src *os.File, size int64) (header, error) {
	a, err := gifanim.Open(src, size)
	if err != nil {
		return header{}, badHeader(imagefile.GIF, err)
	}
	return header{
		format:      imagefile.GIF,
		width:       a.Width,
		height:      a.Height,
		frames:      a.Frames(),
		bytes:       size,
		orientation: 1,
		bands:       4,
		sampleBytes: 1,
		alpha:       true,
		gif:         a,
	}, nil
}

// decodeGIF returns the top rung of an animation, frame by frame. src is the file that
// h was read from, still open.
func decodeGIF(h header, top ladder.Rung, took ladder.Timings) (*vipsImage, error) {
	began := time.Now()
	var resizing time.Duration
	frames, err := newImage(func(out **C.VipsImage) C.int {
		return C.frames_new(C.int(top.Width), C.int(top.Height), C.int(h.frames), out)
	})
	if err != nil {
		return nil, badPixels(h.format, err)
	}
	defer frames.free()
	canvas := h.gif.Canvas()
	for i := range h.frames {
		if err := canvas.Next(); err != nil {
			return nil, badPixels(h.format, err)
		}
		start := time.Now()
		if err := try(func() C.int {
			return C.frames_set(frames.image, C.int(i), unsafe.Pointer(&canvas.Pix[0]), C.int(h.width), C.int(h.height))
		}); err != nil {
			return nil, createFault("frames", err)
		}
		resizing += time.Since(start)
	}
	delays := make([]C.int, h.frames)
	for i, d := range h.gif.Delays {
		delays[i] = C.int(d.Milliseconds())
	}
	rung, err := newImage(func(out **C.VipsImage) C.int {
		return C.frames_finish(frames.image, C.int(top.Height), &delays[0], C.int(min(h.gif.Plays, webpPlays)), out)
	})
	if err != nil {
		return nil, createFault("frames", err)
	}
	took.Since(began.Add(resizing), ladder.StageDecode)
	took[ladder.StageResize] += resizing
	took[ladder.StageOrient] = 0
	return rung, nil
}

// decodesGIF tests the decoder, as decodes does libvips' decoders.
func decodesGIF() bool {
	file, err := samples.ReadFile("samples/" + imagefile.GIF)
	if err != nil {
		return false
	}
	a, err := gifanim.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return false
	}
	return a.Canvas().Next() == nil
}
