package catalog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Retention limits the served directory; zero means no limit.
type Retention struct {
	MaxAge   time.Duration `mapstructure:"max_age"`
	MaxBytes int64         `mapstructure:"max_bytes"` // of all sets and originals, in blocks of the disk
}

// DeletedMessage is the log message of each deletion. It must not be suppressed,
// however many there are: an operator looks for one id.
const DeletedMessage = "image deleted by retention"

// batch is how many sets are deleted together, with one sync.
const batch = 32

// Newest returns the time of the newest set, zero if there is none.
func (c *Catalog) Newest() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	newest, ok := c.order.Max()
	if !ok {
		return time.Time{}
	}
	return newest.time()
}

// SetMaxBytes sets the bytes above which Full receives a value; 0 for never. It
// must be called before the first set is published.
func (c *Catalog) SetMaxBytes(bytes int64) { c.maxBytes = bytes }

// Full receives a value when the sets exceed the limit of SetMaxBytes: call
// Prune.
func (c *Catalog) Full() <-chan struct{} { return c.full }

// Bytes returns the disk usage of the sets and their originals. Until the
// first Prune with a limit for it, sets of earlier processes do not count.
func (c *Catalog) Bytes() int64 { return c.sizes.bytes() }

// Prune deletes sets older than allowed, and if the others take more than
// allowed, the oldest of them until they take 2 % less, so that the next set does
// not require it again. The newest set always stays. It returns the number of
// deleted sets, and logs each. It stops at the end of ctx, or if a set is temporarily
// unreachable: there may be many thousands.
func (c *Catalog) Prune(ctx context.Context, r Retention, now time.Time) (deleted int, err error) {
	all := c.newestFirst()
	var old []position
	for i := len(all) - 1; i >= 0 && r.MaxAge > 0 && now.Sub(all[i].time()) > r.MaxAge; i-- {
		old = append(old, all[i])
	}
	deleted, err = c.deleteAll(ctx, old, "older than retention.max_age")
	if err != nil || r.MaxBytes == 0 {
		return deleted, err
	}
	if err := c.measure(ctx); err != nil || c.sizes.bytes() <= r.MaxBytes {
		return deleted, err
	}
	low := r.MaxBytes - r.MaxBytes/50
	more, err := c.DeleteOldest(ctx, "over retention.max_bytes", func() bool { return c.sizes.bytes() <= low })
	return deleted + more, err
}

// DeleteOldest deletes the oldest sets, a few at a time, until enough returns
// true, only the newest is left, or ctx ends. It returns how many it deleted, and logs
// each with the reason.
func (c *Catalog) DeleteOldest(ctx context.Context, reason string, enough func() bool) (deleted int, err error) {
	all := c.newestFirst()
	for len(all) > 1 && !enough() {
		n := 1
		if len(all) > 10*batch { // a few of many
			n = batch
		}
		oldest := slices.Clone(all[len(all)-n:])
		all = all[:len(all)-n]
		n, err = c.deleteAll(ctx, oldest, reason)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// deleteAll deletes sets in batches, until ctx ends.
func (c *Catalog) deleteAll(ctx context.Context, sets []position, reason string) (deleted int, err error) {
	for len(sets) > 0 {
		some := sets[:min(batch, len(sets))]
		sets = sets[len(some):]
		var ids []string
		for _, l := range some {
			ids = append(ids, l.id)
		}
		err := c.storage.DeleteAll(ctx, ids)
		for _, l := range some {
			if c.Has(l.id) {
				continue // after an error
			}
			c.log.Info(DeletedMessage, zap.String("image_id", l.id), zap.Time("created_at", l.time()), zap.String("reason", reason))
			deleted++
		}
		if err != nil {
			return deleted, fmt.Errorf("delete by retention: %w", err)
		}
	}
	return deleted, nil
}

// measure accounts for the sets of earlier processes and other machines.
func (c *Catalog) measure(ctx context.Context) error {
	for _, l := range c.newestFirst() {
		if c.sizes.has(l.id) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := c.Get(l.id)
		switch {
		case fault.CodeOf(err) == fault.Unavailable:
			return err // so are the others
		case err != nil:
			c.skip(l.id, err)
		default:
			c.Account(m, c.storage.OriginalSize(l.id))
		}
	}
	return nil
}

// Account adds the sizes of a set and its original (0 if none is kept), unless the
// set was deleted meanwhile, and signals if the limit is exceeded.
func (c *Catalog) Account(m manifest.Manifest, original int64) {
	size := int64(blockSize) // of the directory
	if b, err := m.Encode(); err == nil {
		size += blocks(int64(len(b)))
	}
	for _, v := range m.Variants {
		size += blocks(v.Bytes)
	}
	c.sizes.set(m.ID, size)
	c.sizes.setOriginal(m.ID, m.Source.SHA256, original)
	if !c.Has(m.ID) {
		c.sizes.remove(m.ID)
	}
	if c.maxBytes > 0 && c.sizes.bytes() > c.maxBytes {
		select {
		case c.full <- struct{}{}:
		default:
		}
	}
}

// blockSize is the unit in which file systems usually allocate.
const blockSize = 4096

func blocks(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// sizes knows what the sets take on the disk. An original counts once, however
// many sets share it.
type sizes struct {
	mu        sync.Mutex
	total     int64
	sets      map[string]setSize
	originals map[string]originalSize // by digest
}

type setSize struct {
	bytes  int64
	digest string // of its original; "" if none is kept
}

type originalSize struct {
	bytes int64
	sets  int
}

func newSizes() sizes {
	return sizes{sets: make(map[string]setSize), originals: make(map[string]originalSize)}
}

func (z *sizes) bytes() int64 {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.total
}

func (z *sizes) has(id string) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	_, ok := z.sets[id]
	return ok
}

func (z *sizes) set(id string, bytes int64) {
	z.remove(id)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.sets[id] = setSize{bytes: bytes}
	z.total += bytes
}

// setOriginal adds the original of a set; bytes is 0 if none is kept.
func (z *sizes) setOriginal(id, digest string, bytes int64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	set, ok := z.sets[id]
	if !ok || bytes == 0 || set.digest != "" {
		return
	}
	set.digest = digest
	z.sets[id] = set
	o := z.originals[digest]
	if o.sets == 0 {
		o.bytes = blocks(bytes)
		z.total += o.bytes
	}
	o.sets++
	z.originals[digest] = o
}

func (z *sizes) remove(id string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	set, ok := z.sets[id]
	if !ok {
		return
	}
	delete(z.sets, id)
	z.total -= set.bytes
	o, ok := z.originals[set.digest]
	if !ok {
		return
	}
	if o.sets--; o.sets > 0 {
		z.originals[set.digest] = o
		return
	}
	delete(z.originals, set.digest)
	z.total -= o.bytes
}
