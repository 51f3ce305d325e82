// Package ladder is the arithmetic of responsive images: from a recipe and a
// source's size it computes the rungs with their names and sizes.
//
// It is pure: it does no I/O and imports nothing from this project, so that
// both sides of the codec boundary can share its types: a Recipe and Limits go
// in; a Source, Variants and a Summary come out, through a Sink.
package ladder

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// EngineVersion must be increased whenever a code change alters the bytes that
// the same settings produce, so that new bytes get new ids and URLs.
const EngineVersion = 4

// Format is an output format.
type Format string

// The output formats.
const (
	WebP Format = "webp"
	JPEG Format = "jpeg"
	AVIF Format = "avif"
)

var formats = []Format{WebP, JPEG, AVIF}

// Valid reports whether f is an output format.
func (f Format) Valid() bool { return f == WebP || f == JPEG || f == AVIF }

// Ext returns the file name extension, without a dot.
func (f Format) Ext() string {
	if f == JPEG {
		return "jpg"
	}
	return string(f)
}

// ContentType returns the media type.
func (f Format) ContentType() string { return "image/" + string(f) }

// MaxSide returns the largest width or height of the format, in pixels.
func (f Format) MaxSide() int {
	if f == JPEG {
		return 65500 // JPEG_MAX_DIMENSION of libjpeg
	}
	return MaxSide
}

// Fallback returns the next less efficient format, for browsers that do not
// support f; "" for JPEG, which every browser supports.
func (f Format) Fallback() Format {
	switch f {
	case AVIF:
		return WebP
	case WebP:
		return JPEG
	default:
		return ""
	}
}

// RGB is an opaque sRGB color, 8 bits per channel.
type RGB [3]uint8

// String returns the color in CSS notation, "#8a7f6e".
func (c RGB) String() string { return "#" + hex.EncodeToString(c[:]) }

// Encoder is the settings of one output format, in a range of widths. A format's
// ranges do not overlap.
type Encoder struct {
	Format  Format `json:"format"`
	Quality int    `json:"quality"`
	Effort  int    `json:"effort,omitempty"`
	Chroma  string `json:"chroma,omitempty"`
	From    int    `json:"from,omitempty"` // the smallest width of a rung that it encodes; 0 is no limit
	To      int    `json:"to,omitempty"`   // the largest; 0 is no limit
}

// Encodes reports whether the encoder is for rungs of this width.
func (e Encoder) Encodes(width int) bool {
	return width >= e.From && (e.To == 0 || width <= e.To)
}

// Box is the box that a single variant must fit into, in pixels; 0 leaves a
// side unbounded.
type Box struct {
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`
}

// Recipe is everything that decides the output bytes of a source. It has either
// Widths, for a ladder, or Fit, for a single variant.
type Recipe struct {
	Engine     int       `json:"engine"`
	Widths     []int     `json:"widths,omitempty"`
	Fit        *Box      `json:"fit,omitempty"`
	Encoders   []Encoder `json:"encoders"`
	Background *RGB      `json:"background,omitempty"` // under transparent pixels, for formats without alpha
}

// Valid reports whether the recipe produces something and is of exactly one
// kind.
func (r Recipe) Valid() bool {
	return (len(r.Widths) > 0) != r.Single() && len(r.Encoders) > 0
}

// Single reports whether the recipe is for a single variant.
func (r Recipe) Single() bool { return r.Fit != nil }

// Fingerprint returns the SHA-256 of the recipe's JSON, whose field order is
// that of the struct.
func (r Recipe) Fingerprint() [32]byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // plain numbers and strings always marshal
	}
	return sha256.Sum256(b)
}

// ShortFingerprint returns the part of the fingerprint shown in manifests, 8
// hex digits.
func (r Recipe) ShortFingerprint() string {
	f := r.Fingerprint()
	return hex.EncodeToString(f[:4])
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// idLen is the length of 16 bytes in base32 without padding.
const idLen = 26

// ID returns the id of the set that the recipe makes of the source with this
// SHA-256.
func (r Recipe) ID(source [32]byte) string { return ID(source, r.Fingerprint()) }

// ID returns the id of the set that the recipe with this fingerprint makes of the
// source with this SHA-256: 26 characters of lower-case base32 over half of
// SHA-256(source ‖ fingerprint).
func ID(source, fingerprint [32]byte) string {
	h := sha256.New()
	h.Write(source[:])
	h.Write(fingerprint[:])
	return idEncoding.EncodeToString(h.Sum(nil)[:16])
}

// ValidID reports whether s has the form of an image id.
func ValidID(s string) bool {
	if len(s) != idLen {
		return false
	}
	_, err := idEncoding.DecodeString(s)
	return err == nil
}

// Rung is one size of the ladder, in pixels.
type Rung struct{ Width, Height int }

// Variant is one file of a set: a rung in a format.
type Variant struct {
	Format Format `json:"format"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Bytes  int64  `json:"bytes,omitempty"` // 0 in a plan
}

// Name returns the file's name within its set, "320.webp".
func (v Variant) Name() string { return fmt.Sprintf("%d.%s", v.Width, v.Format.Ext()) }

// Reason is why a variant was omitted.
type Reason string

// The reasons.
const (
	NotSmaller  Reason = "not_smaller"   // the fallback format is as small, and every browser shows that
	BeyondLimit Reason = "beyond_format" // a side exceeds the format's maximum
)

// Omission is a planned variant that was omitted.
type Omission struct {
	Format Format `json:"format"`
	Width  int    `json:"width"`
	Reason Reason `json:"reason"`
}

// Plan is what a recipe makes of a source of one size. Variants and omissions
// are ordered by format as configured, then by width.
type Plan struct {
	Rungs    []Rung // widths strictly ascending
	Variants []Variant
	Omitted  []Omission
}

// Plan returns the plan for an image of width × height pixels, as displayed.
func (r Recipe) Plan(width, height int) Plan {
	var p Plan
	if r.Single() {
		p.Rungs = []Rung{r.Fit.Fit(width, height)}
	} else {
		p.Rungs = rungs(r.Widths, width, height)
	}
	for _, e := range r.Encoders {
		for _, g := range p.Rungs {
			if !e.Encodes(g.Width) {
				continue
			}
			if max(g.Width, g.Height) > e.Format.MaxSide() {
				p.Omitted = append(p.Omitted, Omission{e.Format, g.Width, BeyondLimit})
				continue
			}
			p.Variants = append(p.Variants, Variant{Format: e.Format, Width: g.Width, Height: g.Height})
		}
	}
	return p
}

// rungs returns the widths up to the source's. Nothing is enlarged: if the
// source's width is between two widths or below the first, the last rung has the
// source's own width.
func rungs(widths []int, width, height int) []Rung {
	var rungs []Rung
	for _, w := range widths {
		if w <= width {
			rungs = append(rungs, Rung{w, scaled(height, w, width)})
		}
	}
	if n := len(rungs); width < widths[len(widths)-1] && (n == 0 || rungs[n-1].Width < width) {
		rungs = append(rungs, Rung{width, height})
	}
	return rungs
}

// Fit returns the largest size within the box that keeps the aspect ratio and
// enlarges nothing.
func (b Box) Fit(width, height int) Rung {
	r := Rung{width, height}
	if b.Width > 0 && b.Width < r.Width {
		r = Rung{b.Width, scaled(height, b.Width, width)}
	}
	if b.Height > 0 && b.Height < r.Height {
		r = Rung{scaled(width, b.Height, height), b.Height}
	}
	return r
}

// scaled returns side scaled by part/whole, rounded to nearest, at least 1.
func scaled(side, part, whole int) int {
	return max(1, int(math.Round(float64(side)*float64(part)/float64(whole))))
}

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
