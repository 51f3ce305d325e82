// Package timestamp is the one form that times have in this project's JSON:
// RFC 3339, UTC, always with milliseconds. encoding/json's own form drops
// trailing zeros, so that strings would not sort as times do.
package timestamp

import (
	"fmt"
	"time"
)

const layout = "2006-01-02T15:04:05.000Z"

// Time is an instant in whole milliseconds.
type Time struct{ time.Time }

// At returns t in UTC, cut to milliseconds.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// String is the JSON form without quotes.
func (t Time) String() string { return t.Format(layout) }

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON hides that of time.Time.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Time) UnmarshalText(b []byte) error {
	parsed, err := time.Parse(layout, string(b))
	if err != nil {
		return fmt.Errorf("time %q does not have the form %s", b, layout)
	}
	t.Time = parsed
	return nil
}

// UnmarshalJSON hides that of time.Time.
func (t *Time) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("time %s is not a string", b)
	}
	return t.UnmarshalText(b[1 : len(b)-1])
}
