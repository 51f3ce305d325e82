package httpapi

import (
	"context"
	"io"

	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Sets are the published image sets. Package publish implements it with a
// directory.
type Sets interface {
	// Get returns a set's manifest, or a NotFound fault.
	Get(id string) (manifest.Manifest, error)
	// Delete deletes a set; an unknown one is not an error.
	Delete(id string) error
	// List returns at most limit manifests, newest first, starting at the cursor of
	// an earlier call ("" for the first), and the cursor of the next page, "" on the
	// last.
	List(limit int, cursor string) (items []manifest.Manifest, next string, err error)
	// Open opens a variant file of a set and returns its description, or a NotFound
	// fault.
	Open(ctx context.Context, id, name string) (io.ReadSeekCloser, manifest.Variant, error)
}
