package publish_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

var epoch = time.Date(2026, 11, 21, 20, 46, 0, 0, time.UTC)

func open(t *testing.T, dir string) *publish.Store {
	t.Helper()
	s, err := publish.Open(publish.Config{Dir: dir}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reopen is a restart of the process.
func reopen(t *testing.T, s **publish.Store, dir string) {
	t.Helper()
	if err := (*s).Close(); err != nil {
		t.Fatal(err)
	}
	*s = open(t, dir)
}

// id of the set that name stands for.
func id(name string) string {
	return ladder.DefaultConfig().Recipe().ID(sha256.Sum256([]byte(name)))
}

// begin makes a set of one file, which holds name.
func begin(t *testing.T, s *publish.Store, name string, at time.Time) (render.Set, manifest.Manifest) {
	t.Helper()
	set, err := s.Begin(t.Context(), id(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Variant(ladder.Variant{Format: ladder.WebP, Width: 320, Height: 240, Bytes: int64(len(name))}, strings.NewReader(name)); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(name))
	return set, manifest.Manifest{
		Version: manifest.Version, ID: id(name), CreatedAt: strictjson.At(at), Width: 320, Height: 240,
		Source:   manifest.Source{SHA256: hex.EncodeToString(digest[:])},
		Variants: set.Variants(), Srcset: manifest.Srcset(set.Variants()),
	}
}

func publishSet(t *testing.T, s *publish.Store, name string, at time.Time) {
	t.Helper()
	set, m := begin(t, s, name, at)
	if _, err := set.Commit(m, render.Origin{}); err != nil {
		t.Fatal(err)
	}
}

// files lists every file below dir.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			found = append(found, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestManifestOfASetThatIsThereIsReturned(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first, m := begin(t, s, "cat", epoch)
	second, later := begin(t, s, "cat", epoch.Add(time.Hour))
	if _, err := first.Commit(m, render.Origin{}); err != nil {
		t.Fatal(err)
	}
	if stored, err := second.Commit(later, render.Origin{}); err != nil || !stored.CreatedAt.Equal(epoch) {
		t.Errorf("the manifest is of %v (%v), want %v", stored.CreatedAt, err, epoch)
	}
	if err := os.WriteFile(filepath.Join(dir, id("cat"), manifest.FileName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	third, latest := begin(t, s, "cat", epoch.Add(2*time.Hour))
	stored, err := third.Commit(latest, render.Origin{})
	if err != nil || !stored.CreatedAt.Equal(latest.CreatedAt.Time) {
		t.Errorf("a damaged set is kept: %v, %v", stored.CreatedAt, err)
	}
	if _, err := s.Get(id("cat")); err != nil {
		t.Error(err)
	}
}

func TestCommittedSetIsWhole(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	set, m := begin(t, s, "cat", epoch)
	if s.Has(id("cat")) {
		t.Error("the set is published before its commit")
	}
	if _, err := os.Stat(filepath.Join(dir, id("cat"))); !os.IsNotExist(err) {
		t.Errorf("its folder is visible before its commit: %v", err)
	}
	if _, err := set.Commit(m, render.Origin{}); err != nil {
		t.Fatal(err)
	}
	set.Abort()
	want := []string{id("cat") + "/320.webp", id("cat") + "/manifest.json"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("the folder has %v, want %v", got, want)
	}
	f, v, err := s.Open(t.Context(), id("cat"), "320.webp")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	digest := sha256.Sum256(data)
	if err != nil || string(data) != "cat" || v.SHA256 != hex.EncodeToString(digest[:]) {
		t.Errorf("read %q (%v), described as %+v", data, err, v)
	}
}

func TestAbortedSetLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	set, _ := begin(t, s, "cat", epoch)
	set.Abort()
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestBodyOfAnotherLengthIsRefused(t *testing.T) {
	s := open(t, t.TempDir())
	set, err := s.Begin(t.Context(), id("cat"))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Abort()
	v := ladder.Variant{Format: ladder.WebP, Width: 320, Height: 240, Bytes: 10}
	if err := set.Variant(v, strings.NewReader("short")); err == nil {
		t.Error("no error")
	}
}

func TestPublishedSurvivesARestartAndTheHalfMadeDoesNot(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	publishSet(t, s, "cat", epoch)
	begin(t, s, "dog", epoch)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, half := range []string{".staging/dog-1", id("bird")} { // what a power cut leaves
		if err := os.MkdirAll(filepath.Join(dir, half), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, half, "320.webp"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	s = open(t, dir)
	if !s.Has(id("cat")) || s.Has(id("dog")) || s.Has(id("bird")) || s.Len() != 1 {
		t.Errorf("cat %v, dog %v, bird %v", s.Has(id("cat")), s.Has(id("dog")), s.Has(id("bird")))
	}
	if got := files(t, dir); len(got) != 3 { // the cat's two, and the bird's one that has no manifest
		t.Errorf("the folder has %v", got)
	}
	publishSet(t, s, "bird", epoch) // over the folder that had lost its manifest
	if _, err := s.Get(id("bird")); err != nil {
		t.Error(err)
	}
}

func TestCommitOfAnExistingSetKeepsTheFirst(t *testing.T) {
	s := open(t, t.TempDir())
	publishSet(t, s, "cat", epoch)
	publishSet(t, s, "cat", epoch.Add(time.Hour))
	m, err := s.Get(id("cat"))
	if err != nil || !m.CreatedAt.Equal(epoch) {
		t.Errorf("created at %v, %v", m.CreatedAt, err)
	}
}

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	publishSet(t, s, "cat", epoch)
	for range 2 {
		if err := s.Delete(id("cat")); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(id("cat")); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	publishSet(t, s, "cat", epoch)
	if !s.Has(id("cat")) {
		t.Error("it cannot be published again")
	}
}

func TestSetRemovedByHandCanBeMadeAgain(t *testing.T) {
	for name, look := range map[string]func(s *publish.Store) error{
		"its manifest": func(s *publish.Store) error {
			for i := range 300 { // others push it out of the memory of manifests
				publishSet(t, s, fmt.Sprint(i), epoch)
			}
			_, err := s.Get(id("cat"))
			return err
		},
		"a file": func(s *publish.Store) error {
			_, _, err := s.Open(t.Context(), id("cat"), "320.webp")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			publishSet(t, s, "cat", epoch)
			if err := os.RemoveAll(filepath.Join(dir, id("cat"))); err != nil {
				t.Fatal(err)
			}
			if err := look(s); fault.CodeOf(err) != fault.NotFound {
				t.Errorf("got %v", err)
			}
			if s.Has(id("cat")) {
				t.Fatal("it still counts as published")
			}
			publishSet(t, s, "cat", epoch)
			if _, _, err := s.Open(t.Context(), id("cat"), "320.webp"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A reader that found the files of a set missing, because the set was being deleted,
// may have to wait until an equal upload has published it again.
func TestReaderOfADeletedSetDoesNotHideItsSuccessor(t *testing.T) {
	s := open(t, t.TempDir())
	publishSet(t, s, "cat", epoch)
	if err := s.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	publishSet(t, s, "cat", epoch)
	for _, found := range []string{manifest.FileName, "320.webp"} {
		s.DropMissing(id("cat"), found)
		if !s.Has(id("cat")) {
			t.Fatalf("the set is missing, because %s was", found)
		}
	}
}

func TestOpenGivesOnlyWhatTheManifestNames(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	publishSet(t, s, "cat", epoch)
	if err := os.WriteFile(filepath.Join(dir, id("cat"), "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "..", "secret", "manifest.json", "../" + id("cat") + "/320.webp", "640.webp", "320.jpg"} {
		if _, _, err := s.Open(t.Context(), id("cat"), name); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%q: got %v", name, err)
		}
	}
	for _, bad := range []string{"", ".", "..", ".staging", id("dog")} {
		if _, _, err := s.Open(t.Context(), bad, "320.webp"); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("set %q: got %v", bad, err)
		}
	}
}

func list(t *testing.T, s *publish.Store, limit int, cursor string) (ids []string, next string) {
	t.Helper()
	items, next, err := s.List(limit, cursor)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range items {
		ids = append(ids, m.ID)
	}
	return ids, next
}

func TestListingIsNewestFirstAndPagesHoldOverChanges(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		publishSet(t, s, name, epoch.Add(time.Duration(i)*time.Millisecond))
	}
	reopen(t, &s, dir) // the order does not depend on memory
	first, next := list(t, s, 2, "")
	if want := []string{id("e"), id("d")}; !slices.Equal(first, want) {
		t.Errorf("first page %v, want %v", first, want)
	}
	// Neither a new set nor the end of the one before the cursor moves the page.
	publishSet(t, s, "f", epoch.Add(time.Second))
	if err := s.Delete(id("d")); err != nil {
		t.Fatal(err)
	}
	second, next := list(t, s, 2, next)
	if want := []string{id("c"), id("b")}; !slices.Equal(second, want) {
		t.Errorf("second page %v, want %v", second, want)
	}
	third, next := list(t, s, 2, next)
	if want := []string{id("a")}; !slices.Equal(third, want) || next != "" {
		t.Errorf("third page %v, next %q, want %v", third, next, want)
	}
	for _, bad := range []string{"x", "..", "a.b", "!." + id("a")} {
		if _, _, err := s.List(1, bad); fault.CodeOf(err) != fault.InvalidRequest {
			t.Errorf("cursor %q: got %v", bad, err)
		}
	}
}

func TestEmptyListing(t *testing.T) {
	items, next, err := open(t, t.TempDir()).List(20, "")
	if err != nil || items == nil || len(items) != 0 || next != "" {
		t.Errorf("got %v, %q, %v", items, next, err)
	}
}

// setSize is what a set of begin takes: a directory, a manifest and one file, each
// in a block of its own.
const setSize = 3 * 4096

func TestPruneByAgeAndBySize(t *testing.T) {
	s := open(t, t.TempDir())
	for i, name := range []string{"aaaa", "bbbb", "cccc"} {
		publishSet(t, s, name, epoch.Add(time.Duration(i)*time.Hour))
	}
	now := epoch.Add(3 * time.Hour)
	steps := []struct {
		r    catalog.Retention
		want []string
	}{
		{catalog.Retention{}, []string{"aaaa", "bbbb", "cccc"}},
		{catalog.Retention{MaxAge: 150 * time.Minute}, []string{"bbbb", "cccc"}},
		{catalog.Retention{MaxBytes: 2 * setSize}, []string{"bbbb", "cccc"}},
		{catalog.Retention{MaxBytes: 2*setSize - 1}, []string{"cccc"}},
		{catalog.Retention{MaxBytes: 1}, []string{"cccc"}}, // the newest stays: its client has just been answered
	}
	for _, step := range steps {
		before := s.Len()
		deleted, err := s.Prune(t.Context(), step.r, now)
		if err != nil || deleted != before-len(step.want) {
			t.Errorf("%+v: deleted %d, %v", step.r, deleted, err)
		}
		for _, name := range step.want {
			if !s.Has(id(name)) {
				t.Errorf("%+v: %s is gone", step.r, name)
			}
		}
	}
}

func TestSecondOwnerIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := publish.Open(publish.Config{Dir: dir}, zaptest.NewLogger(t)); err == nil || !strings.Contains(err.Error(), "another optimizerd") {
		t.Errorf("got %v", err)
	}
}

func TestCommitOfASetThatIsThereLeavesNothingStaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first, m := begin(t, s, "cat", epoch)
	second, _ := begin(t, s, "cat", epoch)
	for _, set := range []render.Set{first, second} {
		if _, err := set.Commit(m, render.Origin{}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{filepath.Join(id("cat"), "320.webp"), filepath.Join(id("cat"), manifest.FileName)}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}
