package codec

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Bounds on what a child reports. It decodes what strangers send, so what it
// says is believed only as far as an honest child could say it.
const (
	maxDetail = 500            // bytes of a fault's sentence
	maxCause  = 4096           // bytes of a cause, for the log; more is cut off
	maxTook   = 24 * time.Hour // for one stage
)

// checkSource returns an error for a source that the limits of its request do
// not allow.
func checkSource(s ladder.Source, limits ladder.Limits) error {
	w, h, frames := int64(s.Width), int64(s.Height), int64(s.Frames)
	switch {
	case w < 1 || h < 1 || frames < 1,
		frames > int64(limits.MaxFrames),
		w > limits.MaxPixels, h > limits.MaxPixels/w, frames > limits.MaxPixels/(w*h):
		return fmt.Errorf("source of %d × %d in %d frames exceeds the limits", s.Width, s.Height, s.Frames)
	}
	return nil
}

// checkFailure returns an error for a fault whose sentence is not fit for a
// client.
func checkFailure(f failure) error {
	bad := func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }
	if f.Detail == "" || len(f.Detail) > maxDetail || !utf8.ValidString(f.Detail) || strings.ContainsFunc(f.Detail, bad) {
		return fmt.Errorf("invalid detail %.40q of a fault", f.Detail)
	}
	return nil
}

// cause returns a child's text for the log.
func cause(text string) string {
	if len(text) > maxCause {
		text = text[:maxCause] + " …"
	}
	return strings.ToValidUTF8(text, "?")
}
