package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"
)

// blobTable lists the blobs of a store in 24 bytes for each: an image has 16 of them with
// the default ladder, and the machine may be small.
type blobTable struct {
	shards [256][]storedBlob // by the first byte of the digest, sorted
}

// storedBlob is a blob: half of its digest, which identifies it, and its size and state.
type storedBlob struct {
	key  [16]byte
	meta uint64 // bytes << stateBits | state
}

// The states of a blob in a check.
const (
	unread uint64 = iota
	beingRead
	sound
	damaged

	stateBits = 2
)

// The states of a blob in a backup, which deletes what no snapshot needs.
const (
	unneeded uint64 = iota
	needed
	neededWithOriginal // a manifest, and the original of its set
)

func (b *storedBlob) bytes() int64  { return int64(b.meta >> stateBits) }
func (b *storedBlob) state() uint64 { return b.meta & (1<<stateBits - 1) }

func (b *storedBlob) setState(state uint64) { b.meta = b.meta>>stateBits<<stateBits | state }

func compareBlobs(a, b storedBlob) int { return bytes.Compare(a.key[:], b.key[:]) }

// list reads the list of the blobs in a store.
func (t *blobTable) list(ctx context.Context, store Store) error {
	err := store.Blobs(ctx, func(digest string, bytes int64) {
		if key, ok := keyOf(digest); ok {
			t.shards[key[0]] = append(t.shards[key[0]], storedBlob{key, uint64(bytes) << stateBits})
		}
	})
	for _, shard := range t.shards {
		if !slices.IsSortedFunc(shard, compareBlobs) { // stores list in this order
			slices.SortFunc(shard, compareBlobs)
		}
	}
	return err
}

// find returns a blob, or nil if the store does not have it.
func (t *blobTable) find(digest string) *storedBlob {
	key, ok := keyOf(digest)
	if !ok {
		return nil
	}
	shard := t.shards[key[0]]
	i, ok := slices.BinarySearchFunc(shard, storedBlob{key: key}, compareBlobs)
	if !ok {
		return nil
	}
	return &shard[i]
}

func keyOf(digest string) (key [16]byte, ok bool) {
	if len(digest) < 2*len(key) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(digest[:2*len(key)]))
	return key, err == nil
}

// period is a set of snapshots, by its number in a history; 0 is the empty one. Most files
// are in the same few sets of snapshots: all those from one time to another.
type period uint32

// history holds sets of snapshots.
type history struct {
	nodes []historyNode
	next  map[historyNode]period
}

// historyNode is a set with one more snapshot, the newest one, than another set.
type historyNode struct {
	before   period
	snapshot int
}

// add returns the set p with a snapshot. Snapshots must be added in their order.
func (h *history) add(p period, snapshot int) period {
	if p != 0 && h.nodes[p-1].snapshot == snapshot {
		return p
	}
	n := historyNode{p, snapshot}
	next, ok := h.next[n]
	if !ok {
		if h.next == nil {
			h.next = make(map[historyNode]period)
		}
		h.nodes = append(h.nodes, n)
		next = period(len(h.nodes))
		h.next[n] = next
	}
	return next
}

// snapshots returns the snapshots of a set, oldest first.
func (h *history) snapshots(p period) (snapshots []int) {
	for ; p != 0; p = h.nodes[p-1].before {
		snapshots = append(snapshots, h.nodes[p-1].snapshot)
	}
	slices.Reverse(snapshots)
	return snapshots
}
