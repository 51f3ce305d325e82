package render

import (
	"errors"
	"fmt"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Short is the error of an image whose set did not fit on the disk.
type Short struct {
	Bytes int64 // that its files need, as far as they were made
	cause error
}

func (s *Short) Error() string { return s.cause.Error() }

// Unwrap returns the cause, an InsufficientStorage fault or an error that becomes one.
func (s *Short) Unwrap() error { return s.cause }

// short returns err as Short if the disk has no space for the files of a set.
func short(err error, bytes int64) error {
	var already *Short
	if fault.CodeOf(err) != fault.InsufficientStorage || errors.As(err, &already) {
		return err
	}
	return &Short{bytes, err}
}

// NotStaged returns the error of a variant that could not be staged, because of err, in
// a set that has others.
func NotStaged(v ladder.Variant, others []manifest.Variant, err error) error {
	return short(fmt.Errorf("add %s: %w", v.Name(), err), bytesOf(others)+v.Bytes)
}

func bytesOf(variants []manifest.Variant) (n int64) {
	for _, v := range variants {
		n += v.Bytes
	}
	return n
}
