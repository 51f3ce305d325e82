package imaging

/*
#include "look.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/optimizerd/optimizerd/pkg/codec/imaging/jpegdc"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// How far a channel of the mean color of an encoded file may differ from its rung's,
// of 255. AVIF is checked for blankness, and at quality 1 a small
// high-contrast image is off by 33.
//
// Where an image has alpha, its visible colors may be off by more: encoders halve
// the resolution of chroma regardless of transparency, so a pixel of alpha 1 colors
// its neighbors. 1,500 checkerboards of random colors were off by up to 80 in WebP;
// their alpha, which is lossless, is not.
const (
	maxDifference      = 24
	maxDifferenceAVIF  = 64
	maxDifferenceFaint = 96
)

// look returns an error if a file encoded from a rung does not show it: it is
// incomplete, or has a different size or color.
func (p *vipsImage) look(f ladder.Format, background ladder.RGB, file []byte) error {
	width, height := p.frameSize()
	switch f {
	case ladder.JPEG:
		return p.lookJPEG(background, file, width, height)
	case ladder.WebP:
		return p.lookWebP(file, width, height)
	case ladder.AVIF:
		return p.lookAVIF(file, width, height)
	}
	return fmt.Errorf("unknown format %q", f)
}

// frameSize is the size of one frame of a rung, in pixels.
func (p *vipsImage) frameSize() (width, height int) {
	return int(p.image.Xsize), int(C.vips_image_get_page_height(p.image))
}

// upperPart is the part that is checked if not everything is: a sixteenth of the
// rows, in the encoders' blocks of 16 × 16 pixels. It is empty for an image
// smaller than a block, whose color the lowest qualities do not preserve.
func upperPart(width, height int) C.Part {
	const block = 16
	rows := max(height/16, block)
	return C.Part{width: C.int(width / block * block), height: C.int(min(rows, height) / block * block)}
}

func empty(part C.Part) bool { return part.width == 0 || part.height == 0 }

// mean is a mean color, premultiplied, and alpha; 0 to 255.
type mean [4]C.double

// mean returns the mean of a part of a rung.
func (p *vipsImage) mean(part C.Part) (m mean) {
	C.look_rung(p.image, &part, &m[0])
	return m
}

// colorTolerance returns how far a color may be off: allowed, or more with alpha.
func (p *vipsImage) colorTolerance(allowed float64) float64 {
	if p.alpha() {
		return maxDifferenceFaint
	}
	return allowed
}

// differs returns an error if two means differ by more than encoding explains.
func (m mean) differs(from mean, color, alpha float64) error {
	for i, allowed := range []float64{color, color, color, alpha} {
		if !(math.Abs(float64(m[i]-from[i])) <= allowed) { // or is not a number
			return fmt.Errorf("its mean color is %.0f, want %.0f", m, from)
		}
	}
	return nil
}

func (p *vipsImage) lookJPEG(background ladder.RGB, file []byte, width, height int) error {
	part := upperPart(width, height)
	top, err := jpegdc.Read(file, int(part.width), int(part.height))
	if err != nil {
		return err
	}
	if err := sameSize(top.Width, top.Height, width, height); err != nil || empty(part) {
		return err
	}
	want, got := p.mean(part), mean{3: 255}
	for i, v := range top.Mean {
		got[i] = C.double(v)
		want[i] += C.double(background[i]) * (1 - want[3]/255)
	}
	const flat = 255 // a JPEG has no alpha to compare
	return got.differs(want, maxDifference+top.Coarse, flat)
}

func (p *vipsImage) lookWebP(file []byte, width, height int) error {
	still, at, err := firstFrame(file, width, height)
	if err != nil {
		return err
	}
	part := upperPart(at.width, at.height)
	if !empty(part) && sparse(len(file), width, height) {
		part = C.Part{width: C.int(at.width), height: C.int(at.height)}
	}
	var w, h C.int
	var got mean
	err = try(func() C.int {
		return C.look_webp(unsafe.Pointer(&still[0]), C.size_t(len(still)), &part, &w, &h, &got[0])
	})
	if err != nil {
		return err
	}
	if err := sameSize(int(w), int(h), at.width, at.height); err != nil || empty(part) {
		return err
	}
	part.left, part.top = C.int(at.x), C.int(at.y)
	return got.differs(p.mean(part), p.colorTolerance(maxDifference), maxDifference)
}

// lookAVIF decodes only suspicious files, because no part of an AV1 image can be
// decoded alone.
func (p *vipsImage) lookAVIF(file []byte, width, height int) error {
	if !wholeBoxes(file) {
		return errAVIF
	}
	var part C.Part
	if !empty(upperPart(width, height)) && sparse(len(file), width, height) {
		part = C.Part{width: C.int(width), height: C.int(height)}
	}
	var w, h C.int
	var got mean
	err := try(func() C.int {
		return C.look_avif(unsafe.Pointer(&file[0]), C.size_t(len(file)), &part, &w, &h, &got[0])
	})
	if err != nil {
		return err
	}
	if err := sameSize(int(w), int(h), width, height); err != nil || empty(part) {
		return err
	}
	return got.differs(p.mean(part), p.colorTolerance(maxDifferenceAVIF), maxDifferenceAVIF)
}

// sparse reports whether a file is suspiciously small for its size in pixels, as
// images of one color and few photos are.
func sparse(length, width, height int) bool {
	const container, pixelsPerByte = 512, 200
	return int64(length) < container+pixels(width, height)/pixelsPerByte
}

func sameSize(width, height, wantWidth, wantHeight int) error {
	if width != wantWidth || height != wantHeight {
		return fmt.Errorf("it has %d × %d pixels, want %d × %d", width, height, wantWidth, wantHeight)
	}
	return nil
}

// place is the position of a frame of an animation on its canvas, in pixels.
type place struct{ x, y, width, height int }

var (
	errWebP = errors.New("the WebP container is damaged")
	errAVIF = errors.New("the AVIF container is damaged")
)

// wholeBoxes reports whether a file is a sequence of complete ISOBMFF boxes.
// libheif 1.19 opens one whose last box is truncated.
func wholeBoxes(file []byte) bool {
	const header = 8
	for len(file) >= header {
		size := uint64(binary.BigEndian.Uint32(file))
		if size < header || size > uint64(len(file)) {
			return false
		}
		file = file[size:]
	}
	return len(file) == 0
}

// firstFrame returns a still WebP unchanged, or the first frame of an animation as a
// WebP. Canvas is the size that the file must have.
func firstFrame(file []byte, width, height int) (still []byte, at place, err error) {
	chunks := webpChunks(file)
	if chunks == nil || int(binary.LittleEndian.Uint32(file[4:]))+chunkHeader != len(file) {
		return nil, place{}, errWebP
	}
	at = place{width: width, height: height}
	extended := chunks[0][chunkHeader:]
	if string(chunks[0][:4]) != "VP8X" || len(extended) < 10 || extended[0]&webpAnimation == 0 {
		return file, at, nil
	}
	if err := sameSize(uint24(extended[4:])+1, uint24(extended[7:])+1, width, height); err != nil {
		return nil, place{}, err
	}
	const frameHeader = 16
	for _, chunk := range chunks {
		frame := chunk[chunkHeader:]
		if string(chunk[:4]) != "ANMF" || len(frame) < frameHeader {
			continue
		}
		at = place{2 * uint24(frame), 2 * uint24(frame[3:]), uint24(frame[6:]) + 1, uint24(frame[9:]) + 1}
		if at.x+at.width > width || at.y+at.height > height {
			return nil, place{}, errWebP
		}
		return stillOf(frame[frameHeader:], at), at, nil
	}
	return nil, place{}, errWebP
}

// stillOf makes a WebP from the chunks of a frame.
func stillOf(chunks []byte, at place) []byte {
	still := []byte("RIFF\x00\x00\x00\x00WEBPVP8X\x0A\x00\x00\x00")
	still = append(still, webpAlpha, 0, 0, 0)
	for _, side := range []int{at.width - 1, at.height - 1} {
		still = append(still, byte(side), byte(side>>8), byte(side>>16))
	}
	still = append(still, chunks...)
	binary.LittleEndian.PutUint32(still[4:], uint32(len(still)-chunkHeader))
	return still
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
