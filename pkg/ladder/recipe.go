package ladder

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
)

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
