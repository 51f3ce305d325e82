// Package strictjson reads JSON that this project wrote: a field that is not
// known, or anything after the end, means that it is not what it seems.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

var errTrailing = errors.New("there is more after its end")

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
