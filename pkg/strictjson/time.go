package strictjson

import (
	"fmt"
	"time"
)

const layout = "2006-01-02T15:04:05.000Z"

// Time is an instant with millisecond precision. Its JSON form is RFC 3339, in
// UTC, always with milliseconds: encoding/json drops trailing zeros, so its
// strings would not sort like the times.
type Time struct{ time.Time }

// At returns t in UTC, truncated to milliseconds.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// String returns the JSON form without quotes.
func (t Time) String() string { return t.Format(layout) }

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON overrides that of time.Time.
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

// UnmarshalJSON overrides that of time.Time.
func (t *Time) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("time %s is not a string", b)
	}
	return t.UnmarshalText(b[1 : len(b)-1])
}
