// Package manifest defines the versioned JSON document that describes one
// published set: its source, its files, and what a page needs to show it before
// and while it loads. It is pure: package publish reads and writes the files.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Version is the version of the format.
const Version = 1

// FileName is the name of the manifest file within a set.
const FileName = "manifest.json"

// Manifest describes a published set.
type Manifest struct {
	Version     int                      `json:"version"`
	ID          string                   `json:"id"`
	CreatedAt   strictjson.Time          `json:"created_at"`
	Recipe      string                   `json:"recipe"`             // first 8 hex digits of the recipe's fingerprint
	Replaces    string                   `json:"replaces,omitempty"` // id of the set that was made before, from the same source by another recipe
	Source      Source                   `json:"source"`
	Width       int                      `json:"width"`  // pixels, as displayed
	Height      int                      `json:"height"` // pixels, as displayed
	Placeholder Placeholder              `json:"placeholder"`
	Variants    []Variant                `json:"variants"`
	Omitted     []ladder.Omission        `json:"omitted"`
	Srcset      map[ladder.Format]string `json:"srcset"`            // with keys, so that a site can prefix its own base URL
	Timings     map[ladder.Stage]float64 `json:"timings,omitempty"` // milliseconds; those known when it is written
}

// Source describes the uploaded or fetched source.
type Source struct {
	SHA256   string `json:"sha256"` // lower-case hex
	Filename string `json:"filename,omitempty"`
	Format   string `json:"format"`
	Bytes    int64  `json:"bytes"`
	Width    int    `json:"width"`  // pixels, as displayed: after EXIF orientation
	Height   int    `json:"height"` // of one frame
	Frames   int    `json:"frames"`
	TakenAt  string `json:"taken_at,omitempty"` // as in ladder.Source
}

// Placeholder is what a page shows until a variant has loaded.
type Placeholder struct {
	ThumbHash []byte `json:"thumbhash"` // standard base64 in JSON
	Color     string `json:"color"`     // the average, "#8a7f6e"
}

// Variant is one file of the set.
type Variant struct {
	Key         string        `json:"key"`           // storage name, "<id>/320.webp"
	URL         string        `json:"url,omitempty"` // absolute; absent on disk unless http.public_url is set
	Format      ladder.Format `json:"format"`
	ContentType string        `json:"content_type"`
	Width       int           `json:"width"`
	Height      int           `json:"height"`
	Bytes       int64         `json:"bytes"`
	SHA256      string        `json:"sha256"`
}

// NewVariant describes a file of the set id.
func NewVariant(id string, v ladder.Variant, sha256 string) Variant {
	return Variant{
		Key: id + "/" + v.Name(), Format: v.Format, ContentType: v.Format.ContentType(),
		Width: v.Width, Height: v.Height, Bytes: v.Bytes, SHA256: sha256,
	}
}

// Name returns the file's name within its set.
func (v Variant) Name() string { return v.Key[strings.IndexByte(v.Key, '/')+1:] }

// Srcset returns the value of an HTML srcset attribute for each format, with
// keys in place of URLs.
func Srcset(variants []Variant) map[ladder.Format]string {
	set := make(map[ladder.Format]string)
	for _, v := range variants {
		candidate := fmt.Sprintf("%s %dw", v.Key, v.Width)
		if set[v.Format] != "" {
			candidate = set[v.Format] + ", " + candidate
		}
		set[v.Format] = candidate
	}
	return set
}

// WithURLs returns a copy of the manifest with URLs under base, such as
// "https://optimizer.example.com".
func (m Manifest) WithURLs(base string) Manifest {
	variants := make([]Variant, len(m.Variants))
	for i, v := range m.Variants {
		v.URL = base + "/files/" + v.Key
		variants[i] = v
	}
	m.Variants = variants
	return m
}

// Variant returns the description of the file with this name.
func (m Manifest) Variant(name string) (Variant, bool) {
	for _, v := range m.Variants {
		if v.Name() == name {
			return v, true
		}
	}
	return Variant{}, false
}

// Encode returns the manifest as stored and sent: indented JSON with a final
// newline.
func (m Manifest) Encode() ([]byte, error) {
	m = m.withLists()
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode manifest %s: %w", m.ID, err)
	}
	return append(b, '\n'), nil
}

// Decode parses and validates a manifest: unknown fields, other versions and
// inconsistencies are errors.
func Decode(data []byte) (Manifest, error) {
	var m Manifest
	if err := strictjson.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w", err)
	}
	if err := m.validate(); err != nil {
		return Manifest{}, fmt.Errorf("manifest %.40q: %w", m.ID, err)
	}
	return m.withLists(), nil
}

// HeadSize is how many bytes at the start of an encoded manifest contain its id
// and the time of its creation.
const HeadSize = 256

// DecodeHead reads id and creation time from the first HeadSize bytes of a
// manifest, which is cheaper than decoding all of it. It does not validate the
// rest.
func DecodeHead(head []byte) (id string, createdAt strictjson.Time, err error) {
	d := json.NewDecoder(bytes.NewReader(head))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return "", createdAt, errors.Join(errors.New("decode manifest: not a JSON object"), err)
	}
	for id == "" || createdAt.IsZero() {
		key, err := d.Token()
		if err != nil {
			return "", createdAt, fmt.Errorf("decode manifest: id or created_at is missing: %w", err)
		}
		switch key {
		case "id":
			err = d.Decode(&id)
		case "created_at":
			err = d.Decode(&createdAt)
		default:
			var other json.RawMessage
			err = d.Decode(&other)
		}
		if err != nil {
			return "", createdAt, fmt.Errorf("decode manifest: %w", err)
		}
	}
	return id, createdAt, nil
}

// withLists returns the manifest with lists that are empty and never null.
func (m Manifest) withLists() Manifest {
	if m.Variants == nil {
		m.Variants = []Variant{}
	}
	if m.Omitted == nil {
		m.Omitted = []ladder.Omission{}
	}
	return m
}

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ValidSHA256 reports whether s is a SHA-256 in lower-case hex.
func ValidSHA256(s string) bool { return hexSHA256.MatchString(s) }

func (m Manifest) validate() error {
	switch {
	case m.Version != Version:
		return fmt.Errorf("version is %d, want %d", m.Version, Version)
	case !ladder.ValidID(m.ID):
		return fmt.Errorf("id is not valid")
	case m.Replaces != "" && !ladder.ValidID(m.Replaces):
		return fmt.Errorf("replaces is not an id")
	case m.Source.TakenAt != "" && !ladder.ValidTakenAt(m.Source.TakenAt):
		return fmt.Errorf("source.taken_at is no time")
	case !ValidSHA256(m.Source.SHA256):
		return fmt.Errorf("source.sha256 is not a digest")
	case m.Width < 1 || m.Height < 1:
		return fmt.Errorf("size %d × %d is not valid", m.Width, m.Height)
	}
	names := make(map[string]bool)
	for i, v := range m.Variants {
		if err := v.validate(m.ID); err != nil {
			return fmt.Errorf("variants[%d]: %w", i, err)
		}
		if names[v.Key] {
			return fmt.Errorf("variants[%d]: duplicate key %q", i, v.Key)
		}
		names[v.Key] = true
	}
	return m.validateTimings()
}

func (m Manifest) validateTimings() error {
	for stage, took := range m.Timings {
		if !slices.Contains(ladder.Stages, stage) || took < 0 {
			return fmt.Errorf("timings: %q: %v ms is not valid", stage, took)
		}
	}
	return nil
}

func (v Variant) validate(id string) error {
	want := ladder.Variant{Format: v.Format, Width: v.Width, Height: v.Height}
	switch {
	case !v.Format.Valid():
		return fmt.Errorf("unknown format %q", v.Format)
	case v.Width < 1 || v.Height < 1 || v.Bytes < 1:
		return fmt.Errorf("%d × %d in %d bytes is not valid", v.Width, v.Height, v.Bytes)
	case v.Key != id+"/"+want.Name():
		return fmt.Errorf("key %q does not match its set, width and format", v.Key)
	case !ValidSHA256(v.SHA256):
		return fmt.Errorf("sha256 is not a digest")
	}
	return nil
}
