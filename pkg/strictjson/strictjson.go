// Package strictjson decodes JSON strictly. In files written by this project,
// an unknown field or trailing data means that the file is not what it seems; in
// a request, that the client expects something other than it would get. It also
// defines the JSON form of times.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

var errTrailing = errors.New("unexpected data after the JSON value")

// Unmarshal is json.Unmarshal, but returns an error for unknown fields and
// trailing data.
func Unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// MemberError describes a problem with one member of an object.
type MemberError struct{ Name, Problem string }

func (e *MemberError) Error() string { return fmt.Sprintf("%q %s", e.Name, e.Problem) }

var errUTF8 = errors.New("invalid UTF-8")

// Members checks what encoding/json is lenient about: the members of the object
// in data must be among names, case-sensitively, each at most once, and the
// data must be valid UTF-8.
func Members(data []byte, names ...string) error {
	if !utf8.Valid(data) {
		return errUTF8
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return err // if data is not an object, the decoder that follows reports it
	}
	var seen []string
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name := token.(string) // keys are always strings
		switch {
		case !slices.Contains(names, name):
			return &MemberError{name, "is not a known field"}
		case slices.Contains(seen, name):
			return &MemberError{name, "is set twice"}
		}
		seen = append(seen, name)
		if err := d.Decode(new(json.RawMessage)); err != nil {
			return err
		}
	}
	return nil
}
