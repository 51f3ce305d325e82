// Package publish manages the served directory: one directory per set, named
// after its id, with the variant files and their manifest.
//
// A set is staged in .staging/, where every file is synced and the manifest is
// written last; then the directory is renamed into place. So a set is either
// complete or absent at any time. It is deleted the same way: renamed away
// first, then deleted.
//
// The directory is the database. Only the ids with their times and a few
// decoded manifests are in memory.
package publish

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

const (
	stagingDir = ".staging" // on the same file system as the sets
	cacheSize  = 256        // decoded manifests, about 10 kB each
)

// Config holds the locations of the sets.
type Config struct {
	Dir           string // served directory; created if missing
	Originals     string // directory of originals, never served; "" for none
	KeepOriginals bool   // keep the originals of new sets
}

// Store is the served directory. It is safe for concurrent use.
type Store struct {
	config Config
	log    *zap.Logger
	lock   *durable.Lock // held while the store is open, against a second process
	cache  *lru.Cache[string, manifest.Manifest]

	crashed bool // the previous process did not close the store

	moves sync.Mutex // held while a set is published or deleted

	mu  sync.RWMutex
	ids map[string]time.Time // creation time of each set
}

// Open creates the directory, deletes incomplete sets of an earlier process,
// and reads the ids of the sets.
func Open(config Config, log *zap.Logger) (*Store, error) {
	cache, err := lru.New[string, manifest.Manifest](cacheSize)
	if err != nil {
		return nil, err
	}
	s := &Store{config: config, log: log, cache: cache, ids: make(map[string]time.Time)}
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
	staging := filepath.Join(s.config.Dir, stagingDir)
	_, err = os.Lstat(staging)
	s.crashed = err == nil
	if err := os.RemoveAll(staging); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.config.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !ladder.ValidID(e.Name()) {
			continue
		}
		info, err := os.Stat(filepath.Join(s.config.Dir, e.Name(), manifest.FileName))
		if err != nil {
			s.log.Warn("ignoring image set without a manifest", zap.String("image_id", e.Name()))
			continue
		}
		s.ids[e.Name()] = info.ModTime()
	}
	return nil
}

// Close deletes the staging directory and unlocks the store. The store must not
// be used afterwards.
func (s *Store) Close() error {
	err := os.RemoveAll(filepath.Join(s.config.Dir, stagingDir))
	return errors.Join(err, s.lock.Close())
}

// Len returns the number of sets.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.ids)
}

// Has reports whether the set is published.
func (s *Store) Has(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ids[id]
	return ok
}

var errNoImage = fault.New(fault.NotFound, "There is no image with this id.")

// Get returns the manifest of a published set, or a NotFound fault.
func (s *Store) Get(id string) (manifest.Manifest, error) {
	if !s.Has(id) {
		return manifest.Manifest{}, errNoImage
	}
	if m, ok := s.cache.Get(id); ok {
		return m, nil
	}
	b, err := os.ReadFile(filepath.Join(s.config.Dir, id, manifest.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		s.dropMissing(id) // deleted by hand
		return manifest.Manifest{}, errNoImage
	}
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	m, err := manifest.Decode(b)
	if err != nil {
		return manifest.Manifest{}, err
	}
	s.cache.Add(id, m)
	return m, nil
}

// Open opens a variant file of a published set and returns its description, or
// a NotFound fault.
func (s *Store) Open(id, name string) (*os.File, manifest.Variant, error) {
	m, err := s.Get(id)
	if err != nil {
		return nil, manifest.Variant{}, err
	}
	v, ok := m.Variant(name)
	if !ok {
		return nil, manifest.Variant{}, fault.New(fault.NotFound, "The image has no file of this name.")
	}
	f, err := os.Open(filepath.Join(s.config.Dir, id, name)) // name is from the manifest, not from the client
	if errors.Is(err, fs.ErrNotExist) {
		s.dropMissing(id)
		return nil, manifest.Variant{}, errNoImage
	}
	if err != nil {
		return nil, manifest.Variant{}, fmt.Errorf("open variant: %w", err)
	}
	return f, v, nil
}

// Delete deletes a set; an unknown one is not an error.
func (s *Store) Delete(id string) error {
	trash, err := s.unpublish(id)
	if err != nil {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	if err := os.RemoveAll(trash); err != nil {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	return nil
}

// unpublish removes a set and its original from view; trash contains what
// remains to be deleted.
func (s *Store) unpublish(id string) (trash string, err error) {
	s.moves.Lock()
	defer s.moves.Unlock()
	if !s.Has(id) {
		return "", nil
	}
	trash, err = os.MkdirTemp(filepath.Join(s.config.Dir, stagingDir), "trash-")
	if err != nil {
		return "", err
	}
	err = durable.Rename(filepath.Join(s.config.Dir, id), filepath.Join(trash, id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return trash, err
	}
	s.drop(id)
	return trash, s.removeOriginal(id)
}

// dropMissing drops a set whose files are missing, so that it can be made
// again.
func (s *Store) dropMissing(id string) {
	s.moves.Lock()
	defer s.moves.Unlock()
	s.drop(id)
}

// drop removes a set from memory. s.moves must be held.
func (s *Store) drop(id string) {
	s.mu.Lock()
	delete(s.ids, id)
	s.mu.Unlock()
	s.cache.Remove(id)
}

// listed is a set in listing order.
type listed struct {
	id string
	at time.Time
}

// newestFirst returns all sets; equal times are ordered by id.
func (s *Store) newestFirst() []listed {
	s.mu.RLock()
	all := make([]listed, 0, len(s.ids))
	for id, at := range s.ids {
		all = append(all, listed{id, at})
	}
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b listed) int { return b.compare(a) })
	return all
}

func (l listed) compare(o listed) int {
	return cmp.Or(l.at.Compare(o.at), strings.Compare(l.id, o.id))
}

// cursor returns a position in the listing that stays valid when sets are added
// or deleted.
func (l listed) cursor() string {
	return base64.RawURLEncoding.EncodeToString(strconv.AppendInt(nil, l.at.UnixNano(), 10)) + "." + l.id
}

func parseCursor(s string) (listed, bool) {
	at, id, _ := strings.Cut(s, ".")
	digits, err := base64.RawURLEncoding.DecodeString(at)
	if err != nil || !ladder.ValidID(id) {
		return listed{}, false
	}
	nanos, err := strconv.ParseInt(string(digits), 10, 64)
	return listed{id, time.Unix(0, nanos)}, err == nil
}

// List returns at most limit manifests, newest first, starting at the cursor of
// an earlier call ("" for the first), and the cursor of the next page, "" on
// the last.
func (s *Store) List(limit int, cursor string) (items []manifest.Manifest, next string, err error) {
	all := s.newestFirst()
	if cursor != "" {
		last, ok := parseCursor(cursor)
		if !ok {
			return nil, "", fault.New(fault.InvalidRequest, "cursor must be next of an earlier page.")
		}
		i := slices.IndexFunc(all, func(l listed) bool { return l.compare(last) < 0 })
		if i < 0 {
			i = len(all)
		}
		all = all[i:]
	}
	items = make([]manifest.Manifest, 0, min(limit, len(all)))
	for i, l := range all {
		if len(items) == limit {
			return items, all[i-1].cursor(), nil
		}
		m, err := s.Get(l.id)
		if err != nil {
			s.skip(l.id, err)
			continue
		}
		items = append(items, m)
	}
	return items, "", nil
}

// Retention limits the served directory; zero means no limit.
type Retention struct {
	MaxAge   time.Duration `mapstructure:"max_age"`
	MaxBytes int64         `mapstructure:"max_bytes"`
}

// Prune deletes sets older than allowed, then the oldest ones until the rest is
// within the allowed size. It returns the number of deleted sets.
func (s *Store) Prune(r Retention, now time.Time) (deleted int, err error) {
	var total int64
	for _, l := range s.newestFirst() {
		tooOld := r.MaxAge > 0 && now.Sub(l.at) > r.MaxAge
		if r.MaxBytes > 0 && !tooOld {
			size, err := s.size(l.id)
			if err != nil {
				s.skip(l.id, err)
				continue
			}
			total += size
		}
		if !tooOld && (r.MaxBytes == 0 || total <= r.MaxBytes) {
			continue
		}
		if err := s.Delete(l.id); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

// skip logs an unreadable set, which must not prevent the others from being
// listed and pruned.
func (s *Store) skip(id string, err error) {
	if fault.CodeOf(err) != fault.NotFound { // NotFound only means it was deleted
		s.log.Error("skipping unreadable image set", zap.String("image_id", id), zap.Error(err))
	}
}

// size returns the size of a set according to its manifest, including its
// original.
func (s *Store) size(id string) (int64, error) {
	m, err := s.Get(id)
	if err != nil {
		return 0, err
	}
	total := s.originalSize(id)
	for _, v := range m.Variants {
		total += v.Bytes
	}
	return total, nil
}
