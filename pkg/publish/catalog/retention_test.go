package catalog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

// remote is a storage in which each step takes time, or fails.
type remote struct {
	shelf
	catalog *catalog.Catalog
	steps   int
	step    func() error
}

func (r *remote) ReadManifest(id string) (manifest.Manifest, error) {
	r.steps++
	return manifest.Manifest{ID: id}, r.step()
}

func (r *remote) DeleteAll(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.steps++
		if err := r.step(); err != nil {
			return err
		}
		r.catalog.Drop(id)
	}
	return nil
}

// A shutdown waits for the housekeeping, which may have thousands of sets to read from a
// bucket, or to delete there.
func TestPruneStopsWithItsContextAndWhileTheStoreIsAway(t *testing.T) {
	away := fault.New(fault.Unavailable, "The store is away.")
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		retention catalog.Retention
		away      bool
	}{
		"reading":                  {catalog.Retention{MaxBytes: 1}, false},
		"deleting":                 {catalog.Retention{MaxAge: time.Hour}, false},
		"reading while it is away": {catalog.Retention{MaxBytes: 1}, true},
	} {
		log, logs := observer.New(zap.InfoLevel)
		ctx, cancel := context.WithCancel(t.Context())
		store := &remote{}
		store.step = func() error {
			if c.away {
				return away
			}
			if store.steps == 3 {
				cancel()
			}
			return nil
		}
		store.catalog = newCatalog(store, zap.New(log))
		for i := range 100 {
			store.catalog.AddID(idOf(i), now.AddDate(-1, 0, 0))
		}
		deleted, err := store.catalog.Prune(ctx, c.retention, now)
		if c.away && (store.steps != 1 || fault.CodeOf(err) != fault.Unavailable || logs.Len() != 0) {
			t.Errorf("%s: %d steps, %v, %d lines in the log", what, store.steps, err, logs.Len())
		}
		if !c.away && (store.steps != 3 || !errors.Is(err, context.Canceled)) {
			t.Errorf("%s: %d steps, %v", what, store.steps, err)
		}
		if gone := 100 - store.catalog.Len(); deleted != gone || logs.FilterMessage(catalog.DeletedMessage).Len() != gone {
			t.Errorf("%s: deleted %d of %d, log: %d", what, deleted, gone, logs.Len())
		}
		cancel()
	}
}
