// Package strictjson reads JSON that must be just what is expected: of what
// this project wrote, a field that is not known, or anything after the end,
// means that it is not what it seems; of a request, that the client means
// something else than it would get.
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

// Unmarshal is json.Unmarshal that refuses both.
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

// MemberError is what is wrong with one member of an object.
type MemberError struct{ Name, Problem string }

func (e *MemberError) Error() string { return fmt.Sprintf("%q %s", e.Name, e.Problem) }

var errUTF8 = errors.New("invalid UTF-8")

// Members checks what encoding/json is lenient about: the members of the
// object in data must be some of names, letter for letter, each at most once,
// and all of it UTF-8.
func Members(data []byte, names ...string) error {
	if !utf8.Valid(data) {
		return errUTF8
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return err // of another kind of value, the decoder that follows says more
	}
	var seen []string
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name := token.(string) // as all keys are
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
