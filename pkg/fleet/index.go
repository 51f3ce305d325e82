package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
)

// Index is the index of sets of all nodes. It implements bucket.Index.
type Index struct {
	f     *Fleet
	watch jetstream.ConsumeContext

	mu       sync.Mutex
	deleting map[string]mark // by id
}

// mark is the entry of a set that is being deleted.
type mark struct {
	revision uint64
	since    time.Time // when it was first seen, by this node's clock
}

// NewIndex returns the index of the fleet.
func (f *Fleet) NewIndex() *Index { return &Index{f: f, deleting: make(map[string]mark)} }

// setEntry is the value of a set.
type setEntry struct {
	At       time.Time `json:"at"`
	Bytes    int64     `json:"bytes"`              // of its files
	Original int64     `json:"original,omitempty"` // 0 if none is kept
	Deleting bool      `json:"deleting,omitempty"`
}

// decodeEntry parses an entry.
func decodeEntry(data []byte) (e setEntry, err error) {
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("decode entry: %w", err)
	}
	if e.Bytes < 0 || e.Original < 0 {
		return e, fmt.Errorf("decode entry: negative size")
	}
	return e, nil
}

// Load implements bucket.Index: it follows all changes.
func (x *Index) Load(added func(id string, at time.Time), dropped func(id string)) error {
	ctx, cancel := context.WithTimeout(x.f.ctx, operationTime)
	defer cancel()
	info, err := x.f.image.stream.Info(ctx)
	if err != nil {
		return unavailable(err)
	}
	consumer, err := x.f.image.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return unavailable(err)
	}
	loaded := make(chan struct{})
	done := sync.OnceFunc(func() { close(loaded) })
	if info.State.Msgs == 0 {
		done()
	}
	x.watch, err = consumer.Consume(func(msg jetstream.Msg) {
		x.apply(msg, added, dropped)
		if meta, err := msg.Metadata(); err == nil && meta.NumPending == 0 {
			done()
		}
	}, followExpiry, followHeartbeat)
	if err != nil {
		return unavailable(err)
	}
	select {
	case <-loaded:
		return nil
	case <-time.After(12 * operationTime):
		return unavailable(errors.New("the index takes too long to load"))
	case <-x.f.ctx.Done():
		return x.f.ctx.Err()
	}
}

func (x *Index) apply(msg jetstream.Msg, added func(string, time.Time), dropped func(string)) {
	id := msg.Subject()[len(x.f.image.prefix):]
	if !ladder.ValidID(id) {
		return
	}
	var e setEntry
	published := msg.Headers().Get(operation) == ""
	if published {
		var err error
		if e, err = decodeEntry(msg.Data()); err != nil {
			x.f.log.Error("unreadable index entry", zap.String("image_id", id), zap.Error(err))
			return
		}
		published = !e.Deleting
	}
	if meta, err := msg.Metadata(); e.Deleting && err == nil {
		x.since(id, meta.Sequence.Stream)
	} else {
		x.mu.Lock()
		delete(x.deleting, id)
		x.mu.Unlock()
	}
	if published {
		added(id, e.At)
	} else {
		dropped(id)
	}
}

// Look implements bucket.Index.
func (x *Index) Look(id string) (bucket.Entry, bucket.Revision, error) {
	v, err := x.f.image.get(id)
	if err != nil || v.data == nil {
		return bucket.Entry{}, bucket.Revision(v.revision), err
	}
	e, err := decodeEntry(v.data)
	if err != nil {
		return bucket.Entry{}, 0, err
	}
	if e.Deleting {
		return bucket.Entry{Deleting: true, Since: x.since(id, v.revision)}, bucket.Revision(v.revision), nil
	}
	return bucket.Entry{Published: true, Original: e.Original}, bucket.Revision(v.revision), nil
}

// since returns when this node first saw a mark, or a later one of the same set.
func (x *Index) since(id string, revision uint64) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.deleting[id].revision < revision {
		x.deleting[id] = mark{revision, time.Now()}
	}
	return x.deleting[id].since
}

// Commit implements bucket.Index.
func (x *Index) Commit(m manifest.Manifest, original int64, at bucket.Revision) error {
	e := setEntry{At: m.CreatedAt.Time, Original: original}
	for _, v := range m.Variants {
		e.Bytes += v.Bytes
	}
	return x.put(m.ID, e, at)
}

func (x *Index) put(id string, e setEntry, at bucket.Revision) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = x.f.image.put(id, b, uint64(at), 0)
	return changed(err)
}

func changed(err error) error {
	if errors.Is(err, errChanged) {
		return bucket.ErrChanged
	}
	return err
}

// Mark implements bucket.Index.
func (x *Index) Mark(id string, at bucket.Revision) error {
	return x.put(id, setEntry{At: time.Now(), Deleting: true}, at)
}

// Unmark implements bucket.Index.
func (x *Index) Unmark(id string, at bucket.Revision) error { return x.Remove(id, at) }

// takeOver is the age of a mark after which another node finishes the deletion.
const takeOver = time.Minute

// Marked implements bucket.Index: these were left by dead nodes.
func (x *Index) Marked() (ids []string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, m := range x.deleting {
		if time.Since(m.since) > takeOver {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Remove implements bucket.Index.
func (x *Index) Remove(id string, at bucket.Revision) error {
	return changed(x.f.image.remove(id, uint64(at)))
}

// Close implements bucket.Index.
func (x *Index) Close() error {
	if x.watch != nil {
		x.watch.Stop()
	}
	return nil
}
