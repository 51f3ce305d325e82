package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/render"
)

// Set is a staged set.
type Set struct {
	store    *Store
	id       string
	dir      string
	files    []*os.File // written, but not synced yet
	variants []manifest.Variant
	done     bool
	timings  ladder.Timings // write, hash and, after Commit, sync
}

// Timings returns how long writing and hashing took, and, after Commit, syncing.
func (set *Set) Timings() ladder.Timings { return set.timings }

// Variants returns the descriptions of the variants written so far.
func (set *Set) Variants() []manifest.Variant { return set.variants }

// Begin creates a staged set.
func (s *Store) Begin(_ context.Context, id string) (render.Set, error) {
	dir, err := os.MkdirTemp(filepath.Join(s.config.Dir, stagingDir), id+"-")
	if err != nil {
		return nil, fmt.Errorf("begin set: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // MkdirTemp makes it private, but other programs may serve it
		return nil, fmt.Errorf("begin set: %w", err)
	}
	return &Set{timings: make(ladder.Timings), store: s, id: id, dir: dir}, nil
}

// Variant writes one variant file from body, which must contain exactly v.Bytes.
func (set *Set) Variant(v ladder.Variant, body io.Reader) error {
	hash := sha256.New()
	if err := set.stageVariant(v, io.TeeReader(body, set.timings.Writer(ladder.StageHash, hash))); err != nil {
		return render.NotStaged(v, set.variants, err)
	}
	set.store.log.Debug("variant staged", zap.String("image_id", set.id), zap.String("file", v.Name()))
	set.variants = append(set.variants, manifest.NewVariant(set.id, v, hex.EncodeToString(hash.Sum(nil))))
	return nil
}

func (set *Set) stageVariant(v ladder.Variant, body io.Reader) error {
	if room := set.store.config.Room; room != nil {
		if err := room(v.Bytes); err != nil {
			return err
		}
	}
	n, err := set.write(v.Name(), body)
	if err == nil && n != v.Bytes {
		err = fmt.Errorf("got %d bytes, want %d", n, v.Bytes)
	}
	return err
}

// write writes a file and leaves its sync to Commit. Writeback starts
// immediately, while the next files are made; syncing each file would commit
// the file system's journal each time, which for a small image costs as much
// as all of its files.
func (set *Set) write(name string, body io.Reader) (int64, error) {
	f, err := os.OpenFile(filepath.Join(set.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	set.files = append(set.files, f)
	n, err := io.Copy(set.timings.Writer(ladder.StageWrite, f), body)
	if err == nil {
		_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) // a hint
	}
	return n, err
}

// sync makes all files durable. The first sync commits the journal for all of
// them.
func (set *Set) sync() error {
	for _, f := range set.files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return set.close()
}

func (set *Set) close() error {
	var errs []error
	for _, f := range set.files {
		errs = append(errs, f.Close())
	}
	set.files = nil
	return errors.Join(errs...)
}

// Commit publishes the set: it writes the manifest last, syncs everything and
// renames the directory into place. An existing set with this id has the same
// content and is kept, unless it is damaged. It returns the stored manifest.
func (set *Set) Commit(m manifest.Manifest, from render.Origin) (manifest.Manifest, error) {
	defer set.Abort() // unless it is published
	s := set.store
	if err := set.stage(m); err != nil {
		return m, fmt.Errorf("publish %s: %w", set.id, err)
	}
	s.log.Debug("set staged", zap.String("image_id", set.id))
	s.moves.Lock()
	defer s.moves.Unlock()
	if err := s.recordVariant(from.Parent, set.id); err != nil {
		return m, err
	}
	linked := s.linkOriginal(set.id, from.Path)
	if s.Has(set.id) {
		if stored, err := s.read(set.id); err == nil {
			return stored, nil
		}
	}
	if err := set.move(); err != nil {
		if linked { // otherwise it is that of the damaged set
			err = errors.Join(err, s.removeOriginal(set.id))
		}
		return m, fmt.Errorf("publish %s: %w", set.id, err)
	}
	s.Add(m, s.OriginalSize(m.ID))
	_ = os.RemoveAll(s.aside(set.id)) // the image is whole again
	return m, nil
}

// move moves the complete set to where it is served. s.moves must be held.
func (set *Set) move() error {
	s := set.store
	if err := s.keepVariants(set.id, set.dir); err != nil {
		return err
	}
	target := filepath.Join(s.config.Dir, set.id)
	if err := os.RemoveAll(target); err != nil { // what is there has no manifest, or a damaged one
		return err
	}
	began := time.Now()
	if err := durable.Rename(set.dir, target); err != nil {
		return err
	}
	set.timings.Since(began, ladder.StageSync)
	set.done = true
	return nil
}

// stage writes the manifest, the last file of the set, and syncs everything.
func (set *Set) stage(m manifest.Manifest) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	if _, err := set.write(manifest.FileName, bytes.NewReader(b)); err != nil {
		return err
	}
	// For people who look at the directory.
	if err := os.Chtimes(filepath.Join(set.dir, manifest.FileName), m.CreatedAt.Time, m.CreatedAt.Time); err != nil {
		return err
	}
	began := time.Now()
	if err := set.sync(); err != nil {
		return err
	}
	if err := durable.SyncDir(set.dir); err != nil {
		return err
	}
	set.timings.Since(began, ladder.StageSync)
	return nil
}

// Abort deletes a set that was not published.
func (set *Set) Abort() {
	if set.done {
		return
	}
	_ = set.close()           // the files are deleted next
	_ = os.RemoveAll(set.dir) // otherwise swept at the next start
	set.done = true
}
