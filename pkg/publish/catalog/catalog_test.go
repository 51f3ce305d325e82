package catalog_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

var seed = flag.Uint64("catalog.seed", 1, "seed of every random choice")

// shelf is a storage whose manifests have nothing but an id; those in broken
// cannot be read.
type shelf struct{ broken map[string]bool }

func (s shelf) ReadManifest(id string) (manifest.Manifest, error) {
	if s.broken[id] {
		return manifest.Manifest{}, fault.New(fault.Internal, "It cannot be read.")
	}
	return manifest.Manifest{ID: id}, nil
}
func (shelf) OriginalSize(string) int64                 { return 0 }
func (shelf) Present(string) bool                       { return true }
func (shelf) DeleteAll(context.Context, []string) error { return nil }

func newCatalog(s catalog.Storage, log *zap.Logger) *catalog.Catalog {
	return catalog.New(s, func(string) {}, log)
}

// idOf returns a valid id for a number; the ids sort like the numbers.
func idOf(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	id := []byte(strings.Repeat("a", 26))
	for i := len(id) - 1; n > 0; i, n = i-1, n/len(letters) {
		id[i] = letters[n%len(letters)]
	}
	return string(id)
}

// pages walks the whole listing and returns the ids of each page.
func pages(t *testing.T, c *catalog.Catalog, limit int) (pages [][]string) {
	t.Helper()
	for cursor := ""; ; {
		items, next, err := c.List(limit, cursor)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range items {
			ids = append(ids, m.ID)
		}
		pages = append(pages, ids)
		if next == "" {
			return pages
		}
		cursor = next
	}
}

func TestListingHasEveryReadableSetOnceInOrder(t *testing.T) {
	t.Logf("-catalog.seed=%d", *seed)
	random := rand.New(rand.NewPCG(*seed, 10))
	s := shelf{broken: map[string]bool{}}
	c := newCatalog(s, zaptest.NewLogger(t))
	var want []string
	start := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	const sets, perTime = 100, 3
	for _, n := range random.Perm(sets) {
		c.AddID(idOf(n), start.Add(time.Hour)) // the time is corrected below
		c.AddID(idOf(n), start.Add(time.Duration(n/perTime)*time.Second))
	}
	for n := sets - 1; n >= 0; n-- {
		switch {
		case n%7 == 0:
			s.broken[idOf(n)] = true
		case n%11 == 0:
			c.Drop(idOf(n))
		default:
			want = append(want, idOf(n))
		}
	}
	for _, limit := range []int{1, 2, 10, len(want), len(want) + 1, 1000} {
		got := pages(t, c, limit)
		if !slices.Equal(slices.Concat(got...), want) {
			t.Errorf("limit %d: got %v, want %v", limit, got, want)
		}
		for _, page := range got[:len(got)-1] {
			if len(page) != limit {
				t.Errorf("limit %d: a page that is not the last has %d sets", limit, len(page))
			}
		}
	}
	if got := c.Newest(); !got.Equal(start.Add((sets - 2) / perTime * time.Second)) {
		t.Errorf("the newest is of %v", got)
	}
}

func TestListingIsNotCompleteWithoutASetOutOfReach(t *testing.T) {
	c := newCatalog(away{}, zaptest.NewLogger(t))
	c.AddID(idOf(1), time.Unix(1, 0))
	if items, _, err := c.List(3, ""); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("got %v, %v; want %s", items, err, fault.Unavailable)
	}
}

// away is a storage that is out of reach.
type away struct{ shelf }

func (away) ReadManifest(string) (manifest.Manifest, error) {
	return manifest.Manifest{}, fault.New(fault.Unavailable, "It is away.")
}

// Whoever adds a set knows of its original; in a fleet it is a request to ask for it.
func TestOriginalOfASetThatIsAddedIsNotLookedUp(t *testing.T) {
	c := newCatalog(shelf{}, zaptest.NewLogger(t)) // which knows of no original
	c.Add(manifest.Manifest{ID: idOf(1)}, 0)
	without := c.Bytes()
	c.Add(manifest.Manifest{ID: idOf(2), Source: manifest.Source{SHA256: "ab"}}, 5000)
	if got := c.Bytes() - 2*without; got != 8192 { // in blocks
		t.Errorf("the original counts as %d bytes", got)
	}
}

func TestCursorOutlivesItsSet(t *testing.T) {
	c := newCatalog(shelf{}, zaptest.NewLogger(t))
	for n := range 6 {
		c.AddID(idOf(n), time.Unix(int64(n), 0))
	}
	_, next, err := c.List(3, "")
	if err != nil {
		t.Fatal(err)
	}
	c.Drop(idOf(3))                   // the last one of the page
	c.AddID(idOf(9), time.Unix(9, 0)) // before the page
	items, next, err := c.List(3, next)
	if err != nil || next != "" {
		t.Fatalf("next is %q, error %v", next, err)
	}
	if len(items) != 3 || items[0].ID != idOf(2) {
		t.Errorf("the second page is %v, want it to go on after the set that was deleted", items)
	}
}

func BenchmarkList(b *testing.B) {
	for _, sets := range []int{1_000, 100_000, 300_000} {
		c := newCatalog(shelf{}, zap.NewNop())
		before := heap()
		for n := range sets {
			c.AddID(idOf(n*7919%sets), time.Unix(int64(n), 0))
		}
		used := float64(heap()-before) / (1 << 20)
		_, middle, err := c.List(sets/2, "")
		if err != nil {
			b.Fatal(err)
		}
		for name, cursor := range map[string]string{"first": "", "middle": middle} {
			b.Run(fmt.Sprintf("%d/%s", sets, name), func(b *testing.B) {
				for b.Loop() {
					if _, _, err := c.List(50, cursor); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(used, "MiB")
			})
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
