package catalog_test

import (
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// remade is a storage whose sets another machine makes again.
type remade struct {
	shelf
	recipe  string
	reads   int
	reading func() // called while a manifest is read
}

func (r *remade) ReadManifest(id string) (manifest.Manifest, error) {
	m := manifest.Manifest{ID: id, Recipe: r.recipe}
	r.reads++
	if f := r.reading; f != nil {
		r.reading = nil
		f()
	}
	return m, nil
}

// A machine may learn of a deletion and of the set that was made after it by the second
// alone, or while it reads the first.
func TestSetThatAnotherMachineMadeAgainIsReadAgain(t *testing.T) {
	const id = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
	first := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	second := first.Add(time.Millisecond)
	check := func(c *catalog.Catalog, want string) {
		t.Helper()
		if m, err := c.Get(id); err != nil || m.Recipe != want {
			t.Errorf("got the manifest %q, %v, want %q", m.Recipe, err, want)
		}
	}
	store := &remade{recipe: "old"}
	c := newCatalog(store, zaptest.NewLogger(t))
	c.Add(manifest.Manifest{ID: id, Recipe: "old", CreatedAt: strictjson.At(first)}, 0)
	c.SetMaxBytes(1)
	c.AddID(id, first) // as the index repeats what this machine has published
	check(c, "old")
	if store.reads != 0 || c.Bytes() == 0 {
		t.Errorf("%d reads of a manifest that is known, %d bytes", store.reads, c.Bytes())
	}
	store.recipe = "new"
	c.AddID(id, second)
	check(c, "new")

	store.recipe = "newer"
	c.AddID(id, first)
	store.reading = func() {
		c.Drop(id)
		store.recipe = "newest"
		c.AddID(id, second)
	}
	check(c, "newer") // it was when it was read
	check(c, "newest")
}
