// Package publish keeps the served folder: one folder a set, named by its id,
// with the variant files and their manifest.
//
// A set is made beside its place, in .staging/, where every file is synced and
// the manifest is written last; then the whole folder is renamed into place.
// So a set is either there with all of its files or not at all, whatever
// happens when. It is removed the same way: first renamed away, then deleted.
//
// The folder is the database. In memory are only the ids with their times, and
// a few decoded manifests.
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

	"github.com/optimizerd/optimizerd/pkg/atomicfile"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

const (
	stagingDir = ".staging" // on the same file system as the sets, whatever is mounted where
	cacheSize  = 256        // decoded manifests of about 10 kB
)

// Config says where the sets lie.
type Config struct {
	Dir           string // the served folder; created if missing
	Originals     string // the folder of kept originals, of which nothing is served; "" has none
	KeepOriginals bool   // whether the originals of new sets are kept
}

// Store is the served folder. Its methods may be called from several
// goroutines.
type Store struct {
	Config
	log   *zap.Logger
	lock  *atomicfile.Lock // held while the store is open, against a second process
	cache *lru.Cache[string, manifest.Manifest]

	crashed bool // the process that had this folder last did not close it

	moves sync.Mutex // held while a set comes or goes

	mu  sync.RWMutex
	ids map[string]time.Time // when each set was made
}

// Open makes the folder, sweeps what an earlier process left half-made, and
// reads which sets there are.
func Open(config Config, log *zap.Logger) (*Store, error) {
	cache, err := lru.New[string, manifest.Manifest](cacheSize)
	if err != nil {
		return nil, err
	}
	s := &Store{Config: config, log: log, cache: cache, ids: make(map[string]time.Time)}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open served folder: %w", err)
	}
	if err := s.openOriginals(); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("open originals: %w", err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	if s.lock, err = atomicfile.LockDir(s.Dir); err != nil {
		return err
	}
	staging := filepath.Join(s.Dir, stagingDir)
	_, err = os.Lstat(staging)
	s.crashed = err == nil
	if err := os.RemoveAll(staging); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !ladder.ValidID(e.Name()) {
			continue
		}
		info, err := os.Stat(filepath.Join(s.Dir, e.Name(), manifest.FileName))
		if err != nil {
			s.log.Warn("ignoring image set without a manifest", zap.String("image_id", e.Name()))
			continue
		}
		s.ids[e.Name()] = info.ModTime()
	}
	return nil
}

// Close lets another process open the folder, and leaves nothing but sets in
// it. Nothing may be called after it.
func (s *Store) Close() error {
	err := os.RemoveAll(filepath.Join(s.Dir, stagingDir))
	return errors.Join(err, s.lock.Close())
}

// Len is how many sets there are.
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

// Get returns a published manifest, or a NotFound fault.
func (s *Store) Get(id string) (manifest.Manifest, error) {
	if !s.Has(id) {
		return manifest.Manifest{}, errNoImage
	}
	if m, ok := s.cache.Get(id); ok {
		return m, nil
	}
	b, err := os.ReadFile(filepath.Join(s.Dir, id, manifest.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		s.dropMissing(id) // deleted by hand: the folder is what counts
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

// Open opens a variant file of a published set, described by its manifest's
// entry, or returns a NotFound fault.
func (s *Store) Open(id, name string) (*os.File, manifest.Variant, error) {
	m, err := s.Get(id)
	if err != nil {
		return nil, manifest.Variant{}, err
	}
	v, ok := m.Variant(name)
	if !ok {
		return nil, manifest.Variant{}, fault.New(fault.NotFound, "The image has no file of this name.")
	}
	f, err := os.Open(filepath.Join(s.Dir, id, name)) // name is the manifest's, not the client's
	if errors.Is(err, fs.ErrNotExist) {
		s.dropMissing(id)
		return nil, manifest.Variant{}, errNoImage
	}
	if err != nil {
		return nil, manifest.Variant{}, fmt.Errorf("open variant: %w", err)
	}
	return f, v, nil
}

// Delete removes a set; one that is not there is no error.
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

// unpublish unpublishes a set at once, with its original; what is left to
// delete is in trash.
func (s *Store) unpublish(id string) (trash string, err error) {
	s.moves.Lock()
	defer s.moves.Unlock()
	if !s.Has(id) {
		return "", nil
	}
	trash, err = os.MkdirTemp(filepath.Join(s.Dir, stagingDir), "trash-")
	if err != nil {
		return "", err
	}
	err = atomicfile.Rename(filepath.Join(s.Dir, id), filepath.Join(trash, id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return trash, err
	}
	s.drop(id)
	return trash, s.removeOriginal(id)
}

// forget drops a set of which a file is missing, so that it can be made again.
func (s *Store) dropMissing(id string) {
	s.moves.Lock()
	defer s.moves.Unlock()
	s.drop(id)
}

// drop takes a set out of memory. s.moves is held.
func (s *Store) drop(id string) {
	s.mu.Lock()
	delete(s.ids, id)
	s.mu.Unlock()
	s.cache.Remove(id)
}

// listed is one set in the order of a listing.
type listed struct {
	id string
	at time.Time
}

// newestFirst returns every set; equal times are ordered by id.
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

// cursor names a place in the listing that stays right when sets come and go.
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

// List returns at most limit manifests, newest first, from the cursor of an
// earlier call on ("" for the first), and the cursor of the next page, "" on
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

// Retention bounds the served folder; zero means no bound.
type Retention struct {
	MaxAge   time.Duration `mapstructure:"max_age"`
	MaxBytes int64         `mapstructure:"max_bytes"`
}

// Prune deletes the sets that are older than allowed, then the oldest ones
// until the rest is within the allowed size. It returns how many it deleted.
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

// skip tells of a set that cannot be read: it must not keep the others from
// being listed and pruned.
func (s *Store) skip(id string, err error) {
	if fault.CodeOf(err) != fault.NotFound { // which is only gone
		s.log.Error("skipping unreadable image set", zap.String("image_id", id), zap.Error(err))
	}
}

// size is what a set takes, by its manifest, with its original.
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
