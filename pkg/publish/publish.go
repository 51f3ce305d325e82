// Package publish manages the served directory: one directory per set, named
// after its id, with the variant files and their manifest.
//
// A set is staged in .staging/, where every file is synced and the manifest is
// written last; then the directory is renamed into place. So a set is either
// complete or absent at any time. It is deleted the same way: renamed away
// first, then deleted.
//
// The directory is the database. Only the catalog is in memory.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

const stagingDir = ".staging" // on the same file system as the sets

// Config holds the locations of the sets.
type Config struct {
	Dir           string // served directory; created if missing
	Originals     string // directory of originals, never served; "" for none
	KeepOriginals bool   // keep the originals of new sets

	Room func(bytes int64) error // returns a fault if the disk has no space for this many bytes more; nil if that is not checked
}

// Store is the served directory. It is safe for concurrent use.
type Store struct {
	*catalog.Catalog

	config Config
	log    *zap.Logger
	lock   *durable.Lock // held while the store is open, against a second process

	crashed bool      // the previous process did not close the store
	changed time.Time // when something was last added to or removed from Dir, before Open

	moves sync.Mutex // held while a set is published or deleted
}

// Open creates the directory, deletes incomplete sets of an earlier process,
// and reads the ids of the sets.
func Open(config Config, log *zap.Logger) (*Store, error) {
	s := &Store{config: config, log: log}
	s.Catalog = catalog.New(s, func(id string) { s.dropMissing(id, manifest.FileName) }, log)
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open served directory: %w", err)
	}
	if err := s.openOriginals(); err != nil {
		_ = s.lock.Close()
		return nil, fmt.Errorf("open originals: %w", err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if err := os.MkdirAll(s.config.Dir, 0o755); err != nil {
		return err
	}
	if s.lock, err = durable.LockDir(s.config.Dir); err != nil {
		return err
	}
	if s.changed, err = modified(s.config.Dir); err != nil {
		return err
	}
	staging := filepath.Join(s.config.Dir, stagingDir)
	_, err = os.Lstat(staging)
	s.crashed = err == nil
	if err := os.RemoveAll(staging); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o755); err != nil {
		return err
	}
	return s.readIDs()
}

// readers is the number of manifests read concurrently: a disk serves
// parallel reads faster than sequential ones.
const readers = 8

// readIDs reads the id and the time of each set.
func (s *Store) readIDs() error {
	entries, err := os.ReadDir(s.config.Dir) // ordered by name
	if err != nil {
		return err
	}
	index, err := s.takeIndex()
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(readers)
	for _, e := range entries {
		id := e.Name()
		if !ladder.ValidID(id) {
			continue
		}
		if at, ok := index.time(id); ok {
			s.AddID(id, at)
			continue
		}
		group.Go(func() error {
			at, err := s.readTime(id)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				s.log.Warn("ignoring image set without a manifest", zap.String("image_id", id))
			case damaged(err):
				s.setAside(id, err)
			case err != nil: // one set must not keep the others from being served
				s.log.Error("ignoring image set that cannot be read", zap.String("image_id", id), zap.Error(err))
			default:
				s.AddID(id, at)
			}
			return nil
		})
	}
	return group.Wait()
}

// readTime returns the creation time of a set, from the start of its manifest.
func (s *Store) readTime(id string) (time.Time, error) {
	f, err := os.Open(s.manifestPath(id))
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	head := make([]byte, manifest.HeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return time.Time{}, err
	}
	named, at, err := manifest.DecodeHead(head[:n])
	if err == nil && named != id {
		err = fmt.Errorf("it is the manifest of %.40q", named)
	}
	if err != nil {
		return time.Time{}, &damagedError{err}
	}
	return at.Time, nil
}

func (s *Store) manifestPath(id string) string {
	return filepath.Join(s.config.Dir, id, manifest.FileName)
}

// Check returns nil: a directory can only lack space, which the spool checks.
func (s *Store) Check() error { return nil }

// Close writes the index for the next start, deletes the staging directory and
// unlocks the store. The store must not be used afterwards.
func (s *Store) Close() error {
	err := s.writeIndex()
	if err == nil { // otherwise the next start reads the manifests, as after a crash
		err = os.RemoveAll(filepath.Join(s.config.Dir, stagingDir))
	}
	if err == nil {
		err = s.sealIndex()
	}
	return errors.Join(err, s.lock.Close())
}

// ReadManifest reads the manifest of a set. A set whose manifest is damaged is
// set aside, and so is missing: the image can be made again.
func (s *Store) ReadManifest(id string) (manifest.Manifest, error) {
	m, err := s.read(id)
	if damaged(err) {
		s.setAside(id, err)
		return m, fs.ErrNotExist
	}
	return m, err
}

// read reads the manifest of a set, damaged or not.
func (s *Store) read(id string) (m manifest.Manifest, err error) {
	b, err := os.ReadFile(s.manifestPath(id))
	if err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	if m, err = manifest.Decode(b); err == nil && m.ID != id {
		err = fmt.Errorf("it is the manifest of %s", m.ID)
	}
	if err != nil {
		return manifest.Manifest{}, &damagedError{err}
	}
	return m, nil
}

// Present reports whether the files of a set exist: another process may have
// moved them.
func (s *Store) Present(id string) bool {
	_, err := os.Lstat(s.manifestPath(id))
	return err == nil
}

// Open opens a variant file of a published set and returns its description, or
// a NotFound fault.
func (s *Store) Open(_ context.Context, id, name string) (io.ReadSeekCloser, manifest.Variant, error) {
	m, err := s.Get(id)
	if err != nil {
		return nil, manifest.Variant{}, err
	}
	v, ok := m.Variant(name)
	if !ok {
		return nil, manifest.Variant{}, catalog.ErrNoFile
	}
	f, err := os.Open(filepath.Join(s.config.Dir, id, name)) // name is from the manifest, not from the client
	if errors.Is(err, fs.ErrNotExist) {
		s.dropMissing(id, name)
		return nil, manifest.Variant{}, catalog.ErrNoImage
	}
	if err != nil {
		return nil, manifest.Variant{}, fmt.Errorf("open variant: %w", err)
	}
	return f, v, nil
}

// dropMissing drops a set if a reader found a file missing, so that it can be made
// again; unless that has happened meanwhile.
func (s *Store) dropMissing(id, file string) {
	s.moves.Lock()
	defer s.moves.Unlock()
	if _, err := os.Lstat(filepath.Join(s.config.Dir, id, file)); err != nil {
		s.Drop(id)
	}
}
