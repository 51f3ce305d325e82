// Package catalog knows which sets are published: their ids and times in memory,
// a cache of decoded manifests, listing and retention. It is independent of
// where the sets are stored.
package catalog

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"iter"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/tidwall/btree"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

const cacheSize = 256 // decoded manifests, about 10 kB each

// The faults for an unknown set, file of a set, and original.
var (
	ErrNoImage    = fault.New(fault.NotFound, "There is no image with this id.")
	ErrNoFile     = fault.New(fault.NotFound, "The image has no file with this name.")
	ErrNoOriginal = fault.New(fault.NotFound, "The original of this image is not kept; upload the image again, or send its URL. (The operator can set storage.keep_originals.)")
)

// VariantsDir is the directory in an image's own that has an entry for each set that
// was made on demand from the image, named by its id. What deletes the image finds
// them there.
const VariantsDir = ".variants"

// Storage is where the sets of a catalog are stored.
type Storage interface {
	// ReadManifest reads the manifest of a set. Its error is fs.ErrNotExist if the
	// set is missing.
	ReadManifest(id string) (manifest.Manifest, error)
	// OriginalSize returns the size of a set's original, 0 if none is kept.
	OriginalSize(id string) int64
	// Present reports whether a set that was read is still there, as far as that can
	// be found out at once.
	Present(id string) bool
	// DeleteAll deletes and drops sets with their originals; unknown ones are not an
	// error. It may stop at the end of ctx, with its error.
	DeleteAll(ctx context.Context, ids []string) error
}

// Catalog is the published sets. It is safe for concurrent use.
type Catalog struct {
	storage Storage
	missing func(id string) // called for a set whose files are missing
	log     *zap.Logger
	cache   *lru.Cache[string, manifest.Manifest]

	mu    sync.RWMutex
	ids   map[string]int64        // creation time of each set, Unix time in ns
	order *btree.BTreeG[position] // the same, oldest first

	sizes    sizes
	maxBytes int64
	full     chan struct{} // capacity 1
}

// New returns an empty catalog. It calls missing with the id of a set that turned
// out to be missing, which should drop it.
func New(storage Storage, missing func(id string), log *zap.Logger) *Catalog {
	cache, err := lru.New[string, manifest.Manifest](cacheSize)
	if err != nil {
		panic(err) // the size is positive
	}
	return &Catalog{
		storage: storage, missing: missing, log: log, cache: cache,
		ids:   make(map[string]int64),
		order: btree.NewBTreeGOptions(position.before, btree.Options{NoLocks: true}),
		sizes: newSizes(), full: make(chan struct{}, 1),
	}
}

// AddID adds a set whose manifest was not read. A set of another time is another one:
// what is known of the earlier is dropped.
func (c *Catalog) AddID(id string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.ids[id]; !ok || before != at.UnixNano() {
		c.cache.Remove(id)
		c.sizes.remove(id)
	}
	c.remove(id)
	p := position{id, at.UnixNano()}
	c.ids[id] = p.at
	c.order.Set(p)
}

// keep caches the manifest of a set that was at this time before it was read, unless it
// was deleted or made again meanwhile.
func (c *Catalog) keep(m manifest.Manifest, at int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if now, ok := c.ids[m.ID]; ok && now == at {
		c.cache.Add(m.ID, m)
	}
}

// remove removes a set from the order. c.mu must be held.
func (c *Catalog) remove(id string) {
	if at, ok := c.ids[id]; ok {
		delete(c.ids, id)
		c.order.Delete(position{id, at})
	}
}

// Add adds a set. original is the size of its original, 0 if none is kept.
func (c *Catalog) Add(m manifest.Manifest, original int64) {
	c.AddID(m.ID, m.CreatedAt.Time)
	c.cache.Add(m.ID, m)
	c.Account(m, original)
}

// Drop removes a set.
func (c *Catalog) Drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(id)
	c.cache.Remove(id)
	c.sizes.remove(id)
}

// Len returns the number of sets.
func (c *Catalog) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.ids)
}

// Has reports whether the set is published.
func (c *Catalog) Has(id string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.ids[id]
	return ok
}

// Get returns the manifest of a published set, or a NotFound fault.
func (c *Catalog) Get(id string) (manifest.Manifest, error) {
	c.mu.RLock()
	at, ok := c.ids[id]
	c.mu.RUnlock()
	if !ok {
		return manifest.Manifest{}, ErrNoImage
	}
	if m, ok := c.cache.Get(id); ok {
		if c.storage.Present(id) {
			return m, nil
		}
		c.missing(id)
		return manifest.Manifest{}, ErrNoImage
	}
	m, err := c.storage.ReadManifest(id)
	if errors.Is(err, fs.ErrNotExist) {
		c.missing(id) // deleted by hand
		return manifest.Manifest{}, ErrNoImage
	}
	if err != nil {
		return manifest.Manifest{}, err
	}
	c.keep(m, at)
	return m, nil
}

// position is the place of a set in the order of the listing: sets of the same
// time are ordered by id.
type position struct {
	id string
	at int64 // Unix time in ns
}

func (p position) before(o position) bool {
	return cmp.Or(cmp.Compare(p.at, o.at), strings.Compare(p.id, o.id)) < 0
}

func (p position) time() time.Time { return time.Unix(0, p.at) }

// newestFirst returns all sets.
func (c *Catalog) newestFirst() []position { return c.olderThan(nil, math.MaxInt) }

// olderThan returns at most n sets that come after one in the listing, or the
// first ones.
func (c *Catalog) olderThan(last *position, n int) []position {
	c.mu.RLock()
	defer c.mu.RUnlock()
	sets := make([]position, 0, min(n, len(c.ids)))
	add := func(p position) bool {
		if last == nil || p.before(*last) {
			sets = append(sets, p)
		}
		return len(sets) < n
	}
	if last == nil {
		c.order.Reverse(add)
	} else {
		c.order.Descend(*last, add)
	}
	return sets
}

// IDs returns the ids of all sets, newest first; equal times are ordered by id.
func (c *Catalog) IDs() []string {
	all := c.newestFirst()
	ids := make([]string, len(all))
	for i, p := range all {
		ids[i] = p.id
	}
	return ids
}

// Times returns the id and creation time of each set, in no particular order.
// The loop body must not use the catalog.
func (c *Catalog) Times() iter.Seq2[string, time.Time] {
	return func(yield func(string, time.Time) bool) {
		c.mu.RLock()
		defer c.mu.RUnlock()
		for id, at := range c.ids {
			if !yield(id, time.Unix(0, at)) {
				return
			}
		}
	}
}

// cursor returns a position in the listing that stays valid when sets are added
// or deleted.
func (p position) cursor() string {
	return base64.RawURLEncoding.EncodeToString(strconv.AppendInt(nil, p.at, 10)) + "." + p.id
}

func parseCursor(s string) (p position, ok bool) {
	at, id, _ := strings.Cut(s, ".")
	digits, err := base64.RawURLEncoding.DecodeString(at)
	if err != nil || !ladder.ValidID(id) {
		return position{}, false
	}
	nanos, err := strconv.ParseInt(string(digits), 10, 64)
	return position{id, nanos}, err == nil
}

// List returns at most limit manifests, newest first, starting at the cursor of
// an earlier call ("" for the first), and the cursor of the next page, "" on
// the last. A set that cannot be read is skipped, but if one is temporarily
// unreachable, its Unavailable fault is returned.
func (c *Catalog) List(limit int, cursor string) (items []manifest.Manifest, next string, err error) {
	var last *position
	if cursor != "" {
		p, ok := parseCursor(cursor)
		if !ok {
			return nil, "", fault.New(fault.InvalidRequest, "cursor must be the value of next from an earlier page.")
		}
		last = &p
	}
	items = make([]manifest.Manifest, 0, min(limit, c.Len()))
	for {
		wanted := limit - len(items) + 1 // one more, to learn whether there is a next page
		sets := c.olderThan(last, wanted)
		for _, p := range sets {
			if len(items) == limit {
				return items, last.cursor(), nil
			}
			last = &p
			m, err := c.Get(p.id)
			switch {
			case fault.CodeOf(err) == fault.Unavailable:
				return nil, "", err // the set is there
			case err != nil:
				c.skip(p.id, err)
				continue
			}
			items = append(items, m)
		}
		if len(sets) < wanted {
			return items, "", nil
		}
	}
}

// skip logs an unreadable set, which must not prevent the others from being
// listed and pruned.
func (c *Catalog) skip(id string, err error) {
	if fault.CodeOf(err) != fault.NotFound { // NotFound only means it was deleted
		c.log.Error("skipping unreadable image set", zap.String("image_id", id), zap.Error(err))
	}
}
