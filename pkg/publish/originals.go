package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// An original is kept under the id of each set made from it, as a hard link:
// sets of one source share its bytes, and deleting the last set frees them. So
// an original is created and deleted with its set, without an index.

func (s *Store) original(id string) string { return filepath.Join(s.config.Originals, id) }

// openOriginals creates the directory, if originals are kept, and sweeps it.
func (s *Store) openOriginals() error {
	if s.config.Originals == "" {
		return nil
	}
	if s.config.KeepOriginals {
		if err := os.MkdirAll(s.config.Originals, 0o750); err != nil {
			return err
		}
		if err := tryLink(s.config.Originals); err != nil {
			return fmt.Errorf("storage.keep_originals: the file system of storage.dir does not support hard links: %w", err)
		}
	}
	return s.sweepOriginals()
}

// sweepOriginals deletes orphaned originals: an earlier process ended between
// keeping an original and publishing its set, or during a deletion. If the
// served directory is empty without a crash, it is more likely not mounted.
func (s *Store) sweepOriginals() error {
	entries, err := os.ReadDir(s.config.Originals)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !ladder.ValidID(e.Name()) {
			continue
		}
		if s.Len() == 0 && !s.crashed {
			s.log.Warn("not sweeping originals, the served directory is empty")
			return nil
		}
		if _, err := os.Lstat(filepath.Join(s.config.Dir, e.Name())); !errors.Is(err, fs.ErrNotExist) || s.isAside(e.Name()) {
			continue
		}
		if err := os.Remove(s.original(e.Name())); err != nil {
			s.log.Warn("cannot delete original without a set", zap.Error(err))
		}
	}
	return nil
}

// tryLink creates and deletes a hard link.
func tryLink(dir string) error {
	f, err := os.CreateTemp(dir, ".link-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := os.Link(f.Name(), f.Name()+"-2"); err != nil {
		return err
	}
	return os.Remove(f.Name() + "-2")
}

// KeepOriginal keeps the file at path as the original of a published set, if
// originals are kept.
func (s *Store) KeepOriginal(id, path string) {
	s.moves.Lock()
	if s.Has(id) {
		s.linkOriginal(id, path)
	}
	s.moves.Unlock()
	if m, err := s.Get(id); err == nil {
		s.Account(m, s.OriginalSize(id))
	}
}

// linkOriginal links the original of a set that is published or about to be.
// It reports whether the original is new. Failures are only logged: the set is useful
// without its original. s.moves must be held.
func (s *Store) linkOriginal(id, path string) (linked bool) {
	if !s.config.KeepOriginals || path == "" {
		return false
	}
	err := os.Link(path, s.original(id))
	linked = err == nil
	if linked || errors.Is(err, fs.ErrExist) { // it may not be synced yet
		err = durable.SyncDir(s.config.Originals)
	}
	if err != nil {
		s.log.Error("cannot keep original", zap.String("image_id", id), zap.Error(err))
		return linked
	}
	s.log.Debug("original kept", zap.String("image_id", id))
	return linked
}

// Original returns the manifest of a published set whose original is kept, or a
// NotFound fault.
func (s *Store) Original(id string) (m manifest.Manifest, err error) {
	if m, err = s.Get(id); err != nil {
		return m, err
	}
	if s.config.Originals == "" {
		return m, catalog.ErrNoOriginal
	}
	if _, err := os.Stat(s.original(id)); errors.Is(err, fs.ErrNotExist) {
		return m, catalog.ErrNoOriginal
	} else if err != nil {
		return m, fmt.Errorf("stat original: %w", err)
	}
	return m, nil
}

// CopyOriginal durably adds the original of a set to the spool, as a hard link.
func (s *Store) CopyOriginal(_ context.Context, m manifest.Manifest, to *spool.Spool) error {
	return to.Link(s.original(m.ID), m.Source.SHA256)
}

// removeOriginal deletes an original. id must be that of a published set.
// s.moves must be held.
func (s *Store) removeOriginal(id string) error {
	if s.config.Originals == "" {
		return nil
	}
	if err := os.Remove(s.original(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// OriginalSize returns the size of an original, 0 if none is kept.
func (s *Store) OriginalSize(id string) int64 {
	if s.config.Originals == "" {
		return 0
	}
	info, err := os.Stat(s.original(id))
	if err != nil {
		return 0 // none kept
	}
	return info.Size()
}
