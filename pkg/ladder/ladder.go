// Package ladder is the arithmetic of responsive images: a recipe and a
// source's size in, the rungs with their names and sizes out.
//
// It is pure. It decodes nothing, opens nothing and imports nothing of this
// project, so that both sides of the codec wall can share its words: a Recipe
// and Limits go in, a Source, Variants and a Summary come out, through a Sink.
package ladder

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// EngineVersion is raised whenever the engine's code changes the bytes that
// the same settings give, so that new bytes get new ids and new URLs.
const EngineVersion = 3

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

// Ext is the file name extension, without a dot.
func (f Format) Ext() string {
	if f == JPEG {
		return "jpg"
	}
	return string(f)
}

// ContentType is the media type.
func (f Format) ContentType() string { return "image/" + string(f) }

// MaxSide is the largest width or height the format holds, in pixels.
func (f Format) MaxSide() int {
	if f == JPEG {
		return 65500 // JPEG_MAX_DIMENSION of libjpeg
	}
	return 16383
}

// Fallback is the next less efficient format, which a browser gets that does
// not know f; "" for JPEG, which every browser knows.
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

// RGB is an opaque sRGB colour, 8 bits a channel.
type RGB [3]uint8

// String is the colour in CSS notation, "#8a7f6e".
func (c RGB) String() string { return "#" + hex.EncodeToString(c[:]) }

// Encoder is the settings of one output format.
type Encoder struct {
	Format  Format `json:"format"`
	Quality int    `json:"quality"`
	Effort  int    `json:"effort,omitempty"`
	Chroma  string `json:"chroma,omitempty"`
}

// Box is what a single variant has to fit into, in pixels; 0 leaves a side
// free.
type Box struct {
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`
}

// Recipe is all that decides the output bytes of a source. It has either
// Widths, for a ladder, or Fit, for a single variant.
type Recipe struct {
	Engine     int       `json:"engine"`
	Widths     []int     `json:"widths,omitempty"`
	Fit        *Box      `json:"fit,omitempty"`
	Encoders   []Encoder `json:"encoders"`
	Background *RGB      `json:"background,omitempty"` // under transparent pixels, where a format has no alpha
}

// Valid reports whether the recipe makes something, and is of one kind.
func (r Recipe) Valid() bool {
	return (len(r.Widths) > 0) != r.Single() && len(r.Encoders) > 0
}

// Single reports whether the recipe makes one size, and no ladder.
func (r Recipe) Single() bool { return r.Fit != nil }

// Fingerprint is the SHA-256 of the recipe's JSON, whose order of fields is
// that of the struct.
func (r Recipe) Fingerprint() [32]byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // plain numbers and strings always marshal
	}
	return sha256.Sum256(b)
}

// ShortFingerprint is what a manifest shows of the fingerprint, 8 hex digits.
func (r Recipe) ShortFingerprint() string {
	f := r.Fingerprint()
	return hex.EncodeToString(f[:4])
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// idLen is the length of 16 bytes in base32 without padding.
const idLen = 26

// ID names the set that the recipe makes of the source with this SHA-256: 26
// characters of lower-case base32 over half of SHA-256(source ‖ fingerprint).
func (r Recipe) ID(source [32]byte) string {
	h := sha256.New()
	f := r.Fingerprint()
	h.Write(source[:])
	h.Write(f[:])
	return idEncoding.EncodeToString(h.Sum(nil)[:16])
}

// ValidID reports whether s has the form of an ID.
func ValidID(s string) bool {
	if len(s) != idLen {
		return false
	}
	_, err := idEncoding.DecodeString(s)
	return err == nil
}

// Rung is one size of the ladder, in pixels.
type Rung struct{ Width, Height int }

// Variant is one file: a rung in a format.
type Variant struct {
	Format Format `json:"format"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Bytes  int64  `json:"bytes,omitempty"` // 0 in a plan
}

// Name is the file's name within its set, "320.webp".
func (v Variant) Name() string { return fmt.Sprintf("%d.%s", v.Width, v.Format.Ext()) }

// Reason says why a variant was left out.
type Reason string

// The reasons.
const (
	NotSmaller  Reason = "not_smaller"   // its fallback format is as small, and every browser shows that
	BeyondLimit Reason = "beyond_format" // a side is longer than the format can hold
)

// Omission is a planned variant that was left out.
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

// Plan lays out what is made of a picture of width × height pixels, as seen.
func (r Recipe) Plan(width, height int) Plan {
	var p Plan
	if r.Single() {
		p.Rungs = []Rung{r.Fit.Fit(width, height)}
	} else {
		p.Rungs = rungs(r.Widths, width, height)
	}
	for _, e := range r.Encoders {
		for _, g := range p.Rungs {
			if max(g.Width, g.Height) > e.Format.MaxSide() {
				p.Omitted = append(p.Omitted, Omission{e.Format, g.Width, BeyondLimit})
				continue
			}
			p.Variants = append(p.Variants, Variant{Format: e.Format, Width: g.Width, Height: g.Height})
		}
	}
	return p
}

// rungs enlarges nothing: they are the widths up to the source's, and where
// that lies between two of them or below the first, a rung at its own width
// closes the ladder.
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

// hold is the largest size within the box that has the picture's aspect ratio
// and enlarges nothing.
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

// scaled is a side when the other one goes from whole to part, so that the
// aspect ratio is kept: rounded to nearest, at least 1.
func scaled(side, part, whole int) int {
	return max(1, int(math.Round(float64(side)*float64(part)/float64(whole))))
}

// Limits are checked by the engine on a source's header, before any pixel is
// decoded.
type Limits struct {
	MaxPixels int64 `json:"max_pixels"` // width × height × frames
	MaxFrames int   `json:"max_frames"`
	MaxMemory int64 `json:"max_memory"` // estimate of what decoding takes, bytes
}

// Source is what a decoder read from a picture's header.
type Source struct {
	Format string `json:"format"` // jpeg, png, webp, gif, heic, avif or tiff
	Width  int    `json:"width"`  // pixels, as seen: after EXIF orientation
	Height int    `json:"height"` // of one frame
	Frames int    `json:"frames"` // 1 for a still
}

// Summary is what is known of a picture once its ladder is made.
type Summary struct {
	Omitted   []Omission `json:"omitted"`   // beside those of the plan: not_smaller
	ThumbHash []byte     `json:"thumbhash"` // at most 25 bytes
	Color     RGB        `json:"color"`     // the average, on the background where transparent
	Timings   Timings    `json:"timings"`   // decode, orient, resize, and encode for each format of the recipe
}

// Sink takes what an engine makes, as it makes it. Calls come one at a time:
// Opened once, then Variant once for each file in any order. An error from
// either ends the work.
type Sink interface {
	Opened(Source) error
	// Variant gets exactly v.Bytes from body, which is not valid after it returns.
	Variant(v Variant, body io.Reader) error
}
