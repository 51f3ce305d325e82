package ladder

import (
	"io"
	"time"
)

// Limits are checked by the engine against a source's header, before any pixel
// is decoded.
type Limits struct {
	MaxPixels int64 `json:"max_pixels"` // width × height × frames
	MaxFrames int   `json:"max_frames"`
	MaxMemory int64 `json:"max_memory"` // estimated memory for decoding, bytes
}

// Source is what a decoder read from a source's header.
type Source struct {
	Format string `json:"format"` // jpeg, png, webp, gif, heic, avif or tiff
	Width  int    `json:"width"`  // pixels, as displayed: after EXIF orientation
	Height int    `json:"height"` // of one frame
	Frames int    `json:"frames"` // 1 for a still image

	// TakenAt is when a photo was taken according to its EXIF data: RFC 3339 to
	// the second, without a zone if that has none. It is "" if unknown.
	TakenAt string `json:"taken_at,omitempty"`
}

// LocalTime is RFC 3339 without a zone.
const LocalTime = "2006-01-02T15:04:05"

// ValidTakenAt reports whether s has the form of Source.TakenAt.
func ValidTakenAt(s string) bool {
	for _, layout := range []string{LocalTime, LocalTime + "-07:00"} {
		if t, err := time.Parse(layout, s); err == nil && len(s) == len(t.Format(layout)) {
			return true
		}
	}
	return false
}

// Summary is what is known of an image once its ladder is rendered.
type Summary struct {
	Omitted   []Omission `json:"omitted"`   // in addition to the plan's: not_smaller
	ThumbHash []byte     `json:"thumbhash"` // at most 25 bytes
	Color     RGB        `json:"color"`     // average, composited on the background
	Timings   Timings    `json:"timings"`   // decode, orient, resize, and encode for each format of the recipe
}

// Sink receives what an engine produces. Calls are sequential: Opened once,
// then Variant once per file in any order. An error from either stops the
// render.
type Sink interface {
	Opened(Source) error
	// Variant must read exactly v.Bytes from body, which is invalid after it
	// returns.
	Variant(v Variant, body io.Reader) error
}
