package publish_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

func TestTimeInTheManifestCountsAndNotThatOfTheFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	publishSet(t, s, "old", epoch)
	publishSet(t, s, "new", epoch.Add(time.Hour))
	for name, wrong := range map[string]time.Time{"old": epoch.AddDate(20, 0, 0), "new": time.Unix(0, 0)} { // copied without times
		if err := os.Chtimes(filepath.Join(dir, id(name), "manifest.json"), wrong, wrong); err != nil {
			t.Fatal(err)
		}
	}
	reopen(t, &s, dir)
	if got, _ := list(t, s, 2, ""); got[0] != id("new") {
		t.Errorf("newest first is %v, want %s first", got, id("new"))
	}
	if deleted, err := s.Prune(t.Context(), catalog.Retention{MaxAge: 90 * time.Minute}, epoch.Add(2*time.Hour)); deleted != 1 || err != nil || !s.Has(id("new")) {
		t.Errorf("deleted %d, %v; want the old one", deleted, err)
	}
	if !s.Newest().Equal(epoch.Add(time.Hour)) {
		t.Errorf("the newest is of %v", s.Newest())
	}
}

func TestDamagedManifestIsSetAsideAndTheImageMadeAgain(t *testing.T) {
	const cut, anothers = `{"version": 1, "id": "`, "that of the dog"
	for name, test := range map[string]struct {
		damage    string
		restarted bool // otherwise the manifest is read because it is not in memory any more
	}{
		"cut":           {cut, true},
		"cut meanwhile": {cut, false},
		"empty":         {"", true},
		"another's":     {anothers, true},
		"zeros":         {string(make([]byte, 5000)), true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openKeeping(t, dir, true)
			path := source(t, dir, "original")
			keep(t, s, "cat", path, epoch)
			keep(t, s, "dog", path, epoch)
			damage := []byte(test.damage)
			if test.damage == anothers {
				var err error
				if damage, err = os.ReadFile(filepath.Join(dir, "files", id("dog"), "manifest.json")); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "files", id("cat"), "manifest.json"), damage, 0o600); err != nil {
				t.Fatal(err)
			}
			if test.restarted {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openKeeping(t, dir, true)
			} else {
				for i := range 300 { // others push it out of memory
					publishSet(t, s, fmt.Sprint(i), epoch)
				}
			}
			checkMadeAgain(t, s, dir)
		})
	}
}

// checkMadeAgain checks that the set of the cat is set aside once it is asked for,
// and that it can be made again.
func checkMadeAgain(t *testing.T, s *publish.Store, dir string) {
	t.Helper()
	if _, err := s.Get(id("cat")); fault.CodeOf(err) != fault.NotFound || s.Has(id("cat")) {
		t.Fatalf("got %v; want the set to be absent", err)
	}
	aside := filepath.Join(dir, "files", publish.AsideDir, id("cat"))
	if _, err := os.Stat(filepath.Join(aside, "320.webp")); err != nil {
		t.Errorf("its files were not set aside: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "originals", id("cat"))); err != nil {
		t.Errorf("its original is lost: %v", err)
	}
	publishSet(t, s, "cat", epoch.Add(time.Hour))
	if _, err := s.Get(id("cat")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(aside); !os.IsNotExist(err) {
		t.Errorf("the damaged set is still there: %v", err)
	}
}

func TestDeleteOfWhatWasSetAsideDeletesItsOriginal(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	keep(t, s, "cat", source(t, dir, "original"), epoch)
	if err := publish.SetAside(filepath.Join(dir, "files"), id("cat")); err != nil { // another process
		t.Fatal(err)
	}
	if _, err := s.Get(id("cat")); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v, want that the set is gone at once", err)
	}
	if err := s.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{filepath.Join("files", publish.AsideDir, id("cat")), filepath.Join("originals", id("cat"))} {
		if _, err := os.Stat(filepath.Join(dir, left)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
}

func TestStoreSaysWhenItIsFullAndRetentionNamesWhatItDeletes(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	const most = 50 * setSize
	s, err := publish.Open(publish.Config{Dir: t.TempDir()}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	s.SetMaxBytes(most)
	deleted := 0
	for i := range 200 {
		publishSet(t, s, fmt.Sprint(i), epoch.Add(time.Duration(i)*time.Second))
		select {
		case <-s.Full():
			n, err := s.Prune(t.Context(), catalog.Retention{MaxBytes: most}, epoch.Add(time.Hour))
			if err != nil || n == 0 {
				t.Fatalf("deleted %d, %v", n, err)
			}
			deleted += n
		default:
		}
		if s.Bytes() > most*105/100 || s.Bytes() != int64(s.Len())*setSize {
			t.Fatalf("after %d sets there are %d in %d bytes, want at most %d", i, s.Len(), s.Bytes(), most)
		}
	}
	if s.Len() < 48 || !s.Has(id("199")) || s.Has(id("0")) {
		t.Errorf("%d sets are left", s.Len())
	}
	entries := logs.FilterMessage("image deleted by retention").All()
	if len(entries) != deleted || entries[0].ContextMap()["image_id"] != id("0") {
		t.Errorf("%d of %d deletions are logged: %v", len(entries), deleted, entries[0])
	}
}
