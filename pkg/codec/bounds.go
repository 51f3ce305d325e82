package codec

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Bounds on what a child reports. It decodes untrusted input, so its reports
// are trusted only as far as an honest child could make them.
const (
	maxCause = 4096           // bytes of a cause, for the log; more is cut off
	maxTook  = 24 * time.Hour // for one stage
)

// A file has at most perPixel bytes for each pixel of the 16 × 16 blocks in which
// encoders work, plus overhead for everything else. The maximum is JPEG's 4.7, for
// black and white noise at quality 100.
const (
	perPixel = 8
	block    = 16
	overhead = 64 << 10
)

// maxVariant returns the size, in bytes, that no file of an honest child exceeds.
// Since it can only send the files of the plan, the sum bounds what it can write.
func maxVariant(v ladder.Variant, frames int) int64 {
	if v.Format != ladder.WebP { // the others show the first frame alone
		frames = 1
	}
	blocks := func(side int) int64 { return (int64(side) + block - 1) / block * block }
	return blocks(v.Width)*blocks(v.Height)*int64(frames)*perPixel + overhead
}

// checkSource returns an error for a source that the limits of its request do
// not allow.
func checkSource(s ladder.Source, limits ladder.Limits) error {
	w, h, frames := int64(s.Width), int64(s.Height), int64(s.Frames)
	switch {
	case w < 1 || h < 1 || frames < 1,
		frames > int64(limits.MaxFrames),
		w > limits.MaxPixels, h > limits.MaxPixels/w, frames > limits.MaxPixels/(w*h):
		return fmt.Errorf("source of %d × %d in %d frames exceeds the limits", s.Width, s.Height, s.Frames)
	case s.TakenAt != "" && !ladder.ValidTakenAt(s.TakenAt):
		return fmt.Errorf("source has an invalid taken_at, %.30q", s.TakenAt)
	}
	return nil
}

// printable returns a child's text for the log: at most most bytes of it, without
// what could disguise a line.
func printable(text string, most int) string {
	if len(text) > most {
		text = text[:most] + " …"
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
