package render

import (
	"context"
	"io"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Sets is a store of published sets. Package publish implements it with a
// directory.
type Sets interface {
	Has(id string) bool
	// Get returns a set's manifest, or a NotFound fault.
	Get(id string) (manifest.Manifest, error)
	// Begin stages a set. ctx ends its work.
	Begin(ctx context.Context, id string) (Set, error)
}

// Origin is what a set was made from.
type Origin struct {
	Path   string // of the source file, to be kept if originals are; "" for none
	Parent string // id of the image that the set is a variant of, and deleted with; "" for none
}

// Set is a set that is not published yet. Its owner must call Commit or Abort, which
// delete what was staged; Abort after Commit does nothing.
type Set interface {
	// Variant stages one variant from body, which must contain exactly v.Bytes. It
	// implements the method of ladder.Sink: the engine writes directly to the set.
	Variant(v ladder.Variant, body io.Reader) error
	// Variants returns the descriptions of what was staged so far, for the manifest.
	Variants() []manifest.Variant
	// Commit publishes the set, all of it at once, and returns its manifest. What
	// was stored first stays: if another process has stored the set or some of its
	// files in the meantime, the manifest describes those. It returns a NotFound fault
	// if the set's parent is gone.
	Commit(m manifest.Manifest, from Origin) (manifest.Manifest, error)
	// Timings returns how long writing took so far.
	Timings() ladder.Timings
	Abort()
}
