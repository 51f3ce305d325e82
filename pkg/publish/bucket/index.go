package bucket

import (
	"errors"
	"time"

	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Index records which sets are published. The default is a directory, see folder;
// the nodes of a fleet share one.
type Index interface {
	// Load calls added with every set and its creation time. An index that is shared
	// continues to call added and dropped with what others change, until Close.
	Load(added func(id string, at time.Time), dropped func(id string)) error
	// Look returns the entry of a set, the zero Entry if it has none, and the
	// revision at which it may be changed.
	Look(id string) (Entry, Revision, error)
	// Commit publishes a set, or replaces its entry, at a revision. It returns
	// ErrChanged if that is not the current one.
	Commit(m manifest.Manifest, original int64, at Revision) error
	// Mark durably unpublishes a set, and records that its objects must be deleted.
	Mark(id string, at Revision) error
	// Unmark records that the objects of a marked set are deleted.
	Unmark(id string, at Revision) error
	// Marked returns the marked sets that no other process is deleting.
	Marked() ([]string, error)
	// Remove removes the entry of a set that has lost files, at a revision. It returns
	// ErrChanged if that is not the current one.
	Remove(id string, at Revision) error
	Close() error
}

// Entry is a set's entry in an index.
type Entry struct {
	Published bool
	Deleting  bool      // its objects are being deleted
	Since     time.Time // of Deleting, if another process may be doing it
	Manifest  []byte    // nil if the index has none: it is in the bucket
	Original  int64     // bytes; 0 if none is kept
}

// Revision is a version of an entry. It grows with each change, deletions included.
type Revision uint64

// ErrChanged is returned if an entry has changed since the revision.
var ErrChanged = errors.New("the entry of the set has changed")
