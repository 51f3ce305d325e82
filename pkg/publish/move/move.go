// Package move copies published sets from one store to another, set by set, and
// verifies each file against its manifest.
package move

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Store is a store of published sets.
type Store interface {
	render.Sets
	IDs() []string
	Open(ctx context.Context, id, name string) (io.ReadSeekCloser, manifest.Variant, error)
	Original(id string) (manifest.Manifest, error)
	CopyOriginal(ctx context.Context, m manifest.Manifest, to *spool.Spool) error
	Delete(id string) error
	// Variants returns the ids of what was made on demand from an image.
	Variants(ctx context.Context, id string) ([]string, error)
	// RecordVariant durably records that a set was made on demand from an image.
	RecordVariant(ctx context.Context, image, variant string) error
}

// Move is one move of all sets.
type Move struct {
	From, To Store
	Spool    *spool.Spool // for originals on their way
	Delete   bool         // delete each set that is in To from From
	// Report is called for each set: err is nil if it is in To now, and copied tells
	// whether it was not before.
	Report func(id string, copied bool, err error)
}

// Run copies the sets, newest first, until ctx ends. A set that fails does not stop
// the others; it is not deleted. Run is idempotent: what is in To is not copied
// again, but with Delete it is verified.
func (m *Move) Run(ctx context.Context) error {
	for _, id := range m.From.IDs() {
		if err := ctx.Err(); err != nil {
			return err
		}
		copied, err := m.set(ctx, id)
		if err == nil {
			err = m.variants(ctx, id)
		}
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && m.Delete {
			err = m.From.Delete(id)
		}
		m.Report(id, copied, err)
	}
	return nil
}

// set copies one set, with its original if that is kept.
func (m *Move) set(ctx context.Context, id string) (copied bool, err error) {
	switch there, err := m.there(ctx, id); {
	case err != nil:
		return false, err
	case there:
		return false, m.checkOriginal(id)
	}
	from, err := m.From.Get(id)
	if err != nil {
		return false, err
	}
	set, err := m.To.Begin(ctx, id)
	if err != nil {
		return false, err
	}
	defer set.Abort()
	for _, v := range from.Variants {
		if err := m.file(ctx, set, id, v); err != nil {
			return false, err
		}
	}
	kept, err := m.keepsOriginal(id)
	if err != nil {
		return false, err
	}
	var origin render.Origin
	if kept {
		path, done, err := m.original(ctx, m.From, from)
		if err != nil {
			return false, err
		}
		defer done()
		origin.Path = path
	}
	if _, err := set.Commit(from, origin); err != nil {
		return false, err
	}
	return true, m.checkOriginal(id)
}

// there reports whether To has a set from an earlier move. An index can be wrong: it may
// be that of another bucket. So the first file is read, and before the set is deleted in
// From, every file and the original. What To has lost is copied again.
func (m *Move) there(ctx context.Context, id string) (bool, error) {
	if !m.To.Has(id) {
		return false, nil
	}
	stored, err := m.To.Get(id)
	if err == nil {
		err = m.read(ctx, stored)
	}
	if err != nil && ctx.Err() == nil && !m.To.Has(id) {
		return false, nil // To has noticed that it is lost
	}
	return err == nil, err
}

// read compares a set in To with its digests.
func (m *Move) read(ctx context.Context, stored manifest.Manifest) error {
	for _, v := range stored.Variants {
		content, _, err := m.To.Open(ctx, stored.ID, v.Name())
		if err != nil {
			return err
		}
		err = compare(content, v.SHA256)
		if err = errors.Join(err, content.Close()); err != nil {
			return fmt.Errorf("the copy of %s: %w", v.Key, err)
		}
		if !m.Delete {
			return nil
		}
	}
	if kept, err := m.keepsOriginal(stored.ID); !kept || err != nil {
		return err
	}
	if err := m.checkOriginal(stored.ID); err != nil {
		return err
	}
	path, done, err := m.original(ctx, m.To, stored)
	if err != nil {
		return fmt.Errorf("the copy of the original: %w", err)
	}
	defer done()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = compare(f, stored.Source.SHA256)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("the copy of the original: %w", err)
	}
	return nil
}

// compare compares content with its digest.
func compare(content io.Reader, digest string) error {
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != digest {
		return fmt.Errorf("it is damaged: its SHA-256 is %s, not %s; delete the set there, or set it aside, and move again", got, digest)
	}
	return nil
}

// variants records in To what was made on demand from an image, and copies what is
// not there yet: it is deleted with the image.
func (m *Move) variants(ctx context.Context, id string) error {
	ids, err := m.From.Variants(ctx, id)
	if err != nil {
		return err
	}
	for _, variant := range ids {
		if m.From.Has(variant) {
			if _, err := m.set(ctx, variant); err != nil {
				return err
			}
		}
		if err := m.To.RecordVariant(ctx, id, variant); err != nil {
			return err
		}
	}
	return nil
}

// file copies one file and checks its digest.
func (m *Move) file(ctx context.Context, set render.Set, id string, v manifest.Variant) error {
	content, _, err := m.From.Open(ctx, id, v.Name())
	if err != nil {
		return err
	}
	defer content.Close()
	if err := set.Variant(ladder.Variant{Format: v.Format, Width: v.Width, Height: v.Height, Bytes: v.Bytes}, content); err != nil {
		return err
	}
	copied := set.Variants()
	if got := copied[len(copied)-1]; got.SHA256 != v.SHA256 {
		return fmt.Errorf("%s is damaged: its SHA-256 is %s, the manifest says %s", v.Key, got.SHA256, v.SHA256)
	}
	return nil
}

// original brings the original of a set in a store into the spool. done removes it
// again.
func (m *Move) original(ctx context.Context, in Store, set manifest.Manifest) (path string, done func(), err error) {
	if err := in.CopyOriginal(ctx, set, m.Spool); err != nil {
		return "", nil, err
	}
	f, err := m.Spool.Source(set.Source.SHA256)
	if err != nil {
		return "", nil, err
	}
	return f.Name(), func() {
		_ = f.Close()                         // it was only read
		_ = m.Spool.Remove(set.Source.SHA256) // otherwise swept by the next move
	}, nil
}

// keepsOriginal reports whether From has the original of a set.
func (m *Move) keepsOriginal(id string) (bool, error) {
	_, err := m.From.Original(id)
	if fault.CodeOf(err) == fault.NotFound {
		return false, nil
	}
	return err == nil, err
}

// checkOriginal returns an error if To lacks an original that From has.
func (m *Move) checkOriginal(id string) error {
	if kept, err := m.keepsOriginal(id); !kept || err != nil {
		return err
	}
	if _, err := m.To.Original(id); err != nil {
		return errors.New("the original was not stored; see the log, and move again after deleting the copy of this set")
	}
	return nil
}
