// Package bucket publishes sets in a bucket of an S3 store: {id}/640.webp and so
// on, {id}/manifest.json, and originals/{id} if originals are kept.
//
// An object is written once: the first writer wins, and the second puts the
// digest and size of the existing object into its manifest. So two processes that
// make a set at the same time, with different versions of libvips, still end with
// one correct manifest. The manifest is written last and is the commit point;
// objects without one are ignored.
//
// Listing and retention are served from an Index, by default a directory with one
// file per set, which Rebuild recreates from the bucket. Deleting a set first
// marks it there, then deletes its objects; the next start completes a deletion
// that a crash interrupted.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Folder is the name of the index in storage.dir.
const Folder = "index"

// atOnce is the number of objects of a set that are written or deleted at once.
const atOnce = 4

// Originals is the prefix of the keys of originals.
const Originals = "originals/"

// cacheControl of published files: a key always has the same content.
const cacheControl = "public, max-age=31536000, immutable"

// maxUploaded is how many sources in the bucket are known by their digest.
const maxUploaded = 256

// Config holds the settings of a Store.
type Config struct {
	Dir           string // of the index; created if missing, unless there is Index
	Index         Index  // instead of the directory; closed with the store
	KeepOriginals bool   // keep the originals of new sets
}

// Store is the published sets in a bucket. It is safe for concurrent use.
type Store struct {
	*catalog.Catalog

	config Config
	bucket *s3.Bucket
	spool  *spool.Spool
	index  Index
	log    *zap.Logger
	locks  locks // of sets, held while one is published or deleted
	health health
	drops  drops

	adopted    atomic.Int64
	uploaded   *lru.Cache[string, string] // digest of a source to the key of an object that has it
	background sync.WaitGroup

	ctx    context.Context // ends with the store, for work that no caller's context bounds
	cancel context.CancelFunc

	last       context.Context // ends lastTime later, for deletions of uploads
	cancelLast context.CancelFunc
}

// Open opens the index. It sends no request to the store: see Probe.
func Open(config Config, bucket *s3.Bucket, staging *spool.Spool, log *zap.Logger) (*Store, error) {
	x := config.Index
	if x == nil {
		local, err := openFolder(config.Dir)
		if err != nil {
			return nil, fmt.Errorf("open index: %w", err)
		}
		x = local
	}
	s := &Store{config: config, bucket: bucket, spool: staging, index: x, log: log, locks: locks{held: make(map[string]*sync.Mutex), refs: make(map[string]int)}}
	s.last, s.cancelLast = context.WithCancel(context.Background())
	s.ctx, s.cancel = context.WithCancel(s.last)
	uploaded, err := lru.New[string, string](maxUploaded)
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	s.uploaded = uploaded
	s.Catalog = catalog.New(s, s.dropMissing, log)
	s.health.store = s
	s.drops.watched = make(map[*addition]struct{})
	if err := x.Load(s.AddID, s.droppedElsewhere); err != nil {
		return nil, errors.Join(fmt.Errorf("open index: %w", err), x.Close())
	}
	return s, nil
}

// droppedElsewhere drops a set that another process has deleted.
func (s *Store) droppedElsewhere(id string) { s.drops.drop(id, func() { s.Drop(id) }) }

// lastTime is how long Close waits for deletions of uploads in progress. They are
// people's photos: they stay no day longer because the daemon stops.
const lastTime = 5 * time.Second

// Close ends the work in progress and closes the index. The store must not be
// used afterwards.
func (s *Store) Close() error {
	s.cancel()
	defer s.cancelLast()
	defer time.AfterFunc(lastTime, s.cancelLast).Stop()
	s.health.wait()
	s.background.Wait()
	s.bucket.Close()
	return s.index.Close()
}

// ReadManifest reads the manifest of a set from the index, or from the bucket if
// the index has none. The error of a set without entry is fs.ErrNotExist. A set that an
// index of several nodes was seen to have is read without it, also while it is out of
// reach.
func (s *Store) ReadManifest(id string) (m manifest.Manifest, err error) {
	if s.config.Index == nil || !s.Has(id) {
		e, _, err := s.index.Look(id)
		switch {
		case err != nil:
			return m, err
		case !e.Published:
			return m, fmt.Errorf("read manifest: %w", fs.ErrNotExist)
		case e.Manifest != nil:
			return manifest.Decode(e.Manifest)
		}
	}
	m, err = FetchManifest(s.ctx, s.bucket, id)
	if s3.Is(err, s3.NotFound) {
		if _, _, err := s.index.Look(id); err != nil {
			return m, err // nobody can tell whether the set was deleted
		}
		return m, fmt.Errorf("read manifest: %w", fs.ErrNotExist)
	}
	if err != nil {
		return m, s.fault(err)
	}
	return m, nil
}

// Get returns the manifest of a published set, or a NotFound fault. A set that
// another node has just published counts, so it returns an Unavailable fault if
// that cannot be known.
func (s *Store) Get(id string) (manifest.Manifest, error) {
	if !s.Has(id) && ladder.ValidID(id) {
		adding := s.drops.watch(id)
		m, err := s.ReadManifest(id)
		s.drops.end(adding, func() {
			if err == nil {
				s.AddID(id, m.CreatedAt.Time)
			}
		})
		switch {
		case err == nil:
			return m, nil
		case fault.CodeOf(err) == fault.Unavailable:
			return m, err
		}
	}
	return s.Catalog.Get(id)
}

// OriginalSize returns the size of an original, 0 if none is kept.
func (s *Store) OriginalSize(id string) int64 {
	e, _, err := s.index.Look(id)
	if err != nil {
		return 0 // reported by whatever reads the manifest
	}
	return e.Original
}

// dropMissing drops a set that has lost its entry or files, so that it can be made
// again.
func (s *Store) dropMissing(id string) {
	defer s.locks.lock(id)()
	e, at, err := s.index.Look(id)
	if err == nil && e.Published {
		if !s.lost(id) {
			return // it was deleted and made again meanwhile, or nobody can tell
		}
		err = s.index.Remove(id, at)
	}
	if err != nil && !errors.Is(err, ErrChanged) { // changed: what was missing may be there
		s.log.Error("cannot remove index entry", zap.String("image_id", id), zap.Error(err))
	}
	s.Drop(id)
}

// lost reports whether the manifest of a set or a file is missing, or the manifest is
// damaged.
func (s *Store) lost(id string) bool {
	m, err := FetchManifest(s.ctx, s.bucket, id)
	for _, v := range m.Variants {
		if err == nil {
			_, err = s.bucket.Head(s.ctx, v.Key)
		}
	}
	return s3.Is(err, s3.NotFound) || errors.Is(err, ErrDamaged)
}

// Open opens a variant file of a published set and returns its description, or a
// NotFound fault. Its first Read, or Prepare, sends a request to the store.
func (s *Store) Open(ctx context.Context, id, name string) (io.ReadSeekCloser, manifest.Variant, error) {
	m, err := s.Get(id)
	if err != nil {
		return nil, manifest.Variant{}, err
	}
	v, ok := m.Variant(name)
	if !ok {
		return nil, manifest.Variant{}, catalog.ErrNoFile
	}
	return &content{ctx: ctx, store: s, id: id, key: v.Key, size: v.Bytes}, v, nil
}

// errBrokenOff is the error of a body that ended before its time.
var errBrokenOff = errors.New("the body broke off")

// fault returns an error of the store as a fault for clients: also one of a response
// that broke off, or that took too long for all that had to be done.
func (s *Store) fault(err error) error {
	var e *s3.Error
	switch {
	case errors.As(err, &e):
		s.health.observe(e)
	case !errors.Is(err, errBrokenOff) && !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	switch {
	case s3.Is(err, s3.NotFound):
		return fault.Wrap(fault.NotFound, err, "There is no image with this id.")
	case s3.Is(err, s3.Full):
		return fault.Wrap(fault.InsufficientStorage, err, "The object store is full.")
	default:
		return fault.Wrap(fault.Unavailable, err, "The object store is currently unreachable; try again later.")
	}
}

// locks locks sets by id.
type locks struct {
	mu   sync.Mutex
	held map[string]*sync.Mutex
	refs map[string]int
}

func (l *locks) lock(id string) (unlock func()) {
	l.mu.Lock()
	if l.held[id] == nil {
		l.held[id] = new(sync.Mutex)
	}
	held := l.held[id]
	l.refs[id]++
	l.mu.Unlock()
	held.Lock()
	return func() {
		held.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.refs[id]--; l.refs[id] == 0 {
			delete(l.refs, id)
			delete(l.held, id)
		}
	}
}

// Probe checks that the store has the required features, then finishes deletions.
// If the store cannot be reached, it keeps trying in the background, and Check
// returns a fault until it has succeeded; any other error means that the store or
// the settings must be changed.
func (s *Store) Probe(ctx context.Context) error {
	err := s.bucket.Probe(ctx, s.config.KeepOriginals)
	if s3.Is(err, s3.Unavailable) {
		s.health.begin(err)
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.FinishDeletions(ctx); err != nil {
		s.log.Warn("cannot finish deletions", zap.Error(err))
	}
	return nil
}

// Check returns a fault while the store cannot be reached.
func (s *Store) Check() error { return s.health.check() }

// probeInterval is the time between two attempts to reach a store that could not be
// reached.
const probeInterval = 2 * time.Second

// Present returns true: no other program deletes from the bucket.
func (s *Store) Present(string) bool { return true }
