package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// File makes the set of a local file of at most maxBytes. made is false if the
// set already existed, or is that of an equal file that is rendered at the same time.
func (r *Renderer) File(ctx context.Context, path string, recipe ladder.Recipe, maxBytes int64) (made bool, set manifest.Manifest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, set, fault.Wrap(fault.NotFound, err, "Cannot open the file: %v.", errors.Unwrap(err))
	}
	defer f.Close()
	src, err := unchanging(f)
	if err != nil {
		return false, set, err
	}
	hash := sha256.New()
	head := new(prefix)
	took := make(ladder.Timings)
	n, err := io.Copy(io.MultiWriter(took.Writer(ladder.StageHash, hash), head), io.LimitReader(f, maxBytes+1))
	switch {
	case err != nil:
		return false, set, fault.Wrap(fault.InvalidRequest, err, "Cannot read the file: %v.", errors.Unwrap(err))
	case src.check(nil) != nil:
		return false, set, errChanged
	case n == 0:
		return false, set, fault.New(fault.UnsupportedFormat, "The file is empty.")
	case n > maxBytes:
		return false, set, fault.New(fault.TooLarge, "The file is larger than limits.max_bytes (%d).", maxBytes)
	}
	if _, ok := imagefile.Sniff(*head); !ok {
		return false, set, fault.New(fault.UnsupportedFormat, "The file is not an image in a supported format.")
	}
	var digest [sha256.Size]byte
	hash.Sum(digest[:0])
	j := job.Job{
		Source: job.Source{SHA256: hex.EncodeToString(digest[:]), Filename: filepath.Base(path), Bytes: n},
		Recipe: recipe, ImageID: recipe.ID(digest), Timings: took,
	}
	return r.once(ctx, src, j)
}

// once makes the set of a file, unless it exists or is being made from an equal file.
func (r *Renderer) once(ctx context.Context, src source, j job.Job) (made bool, set manifest.Manifest, err error) {
	for own := false; ; {
		_, err, _ := r.files.Do(j.ImageID, func() (_ any, err error) {
			own = true
			if set, err = r.Sets.Get(j.ImageID); fault.CodeOf(err) != fault.NotFound {
				return nil, err
			}
			set, _, err = r.render(ctx, src, j)
			made = err == nil
			return nil, err
		})
		if own {
			return made, set, err
		}
	}
}

// source is the file of an image.
type source struct {
	*os.File
	was os.FileInfo // when reading began; nil if nothing changes the file
}

// unchanging returns a file that others may change as a source.
func unchanging(f *os.File) (source, error) {
	was, err := f.Stat()
	if err != nil {
		return source{}, fault.Wrap(fault.InvalidRequest, err, "Cannot read the file: %v.", errors.Unwrap(err))
	}
	return source{f, was}, nil
}

var errChanged = fault.New(fault.InvalidRequest, "The file changed while it was read; try again when it is complete.")

// check returns errChanged if the file has changed since reading it began: its digest
// may be of other bytes than its pixels. Otherwise it returns the error of reading it.
func (s source) check(err error) error {
	if s.was == nil {
		return err
	}
	now, statErr := s.Stat()
	if statErr != nil || now.Size() != s.was.Size() || !now.ModTime().Equal(s.was.ModTime()) {
		return errChanged
	}
	return err
}

// prefix stores the first bytes written to it.
type prefix []byte

func (p *prefix) Write(b []byte) (int, error) {
	*p = append(*p, b[:min(len(b), imagefile.HeadSize-len(*p))]...)
	return len(b), nil
}
