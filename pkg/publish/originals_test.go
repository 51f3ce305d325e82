package publish_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/render"
)

// openKeeping opens a store that keeps originals, in dir/files and
// dir/originals.
func openKeeping(t *testing.T, dir string, keep bool) *publish.Store {
	t.Helper()
	s, err := publish.Open(publish.Config{
		Dir: filepath.Join(dir, "files"), Originals: filepath.Join(dir, "originals"), KeepOriginals: keep,
	}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keep publishes the set of name with the original at path.
func keep(t *testing.T, s *publish.Store, name, path string, at time.Time) {
	t.Helper()
	set, m := begin(t, s, name, at)
	if _, err := set.Commit(m, render.Origin{Path: path}); err != nil {
		t.Fatal(err)
	}
}

func source(t *testing.T, dir, content string) string {
	t.Helper()
	path := filepath.Join(dir, "source")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOriginalComesAndGoesWithItsSet(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	path := source(t, dir, "original")
	keep(t, s, "cat", path, epoch)
	keep(t, s, "cat's other set", path, epoch)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(dir, "originals", id("cat"))
	m, err := s.Original(id("cat"))
	if err != nil || m.ID != id("cat") {
		t.Fatal(m.ID, err)
	}
	if b, err := os.ReadFile(kept); err != nil || string(b) != "original" {
		t.Errorf("the original contains %q, %v", b, err)
	}
	if err := s.Delete(id("cat")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); !os.IsNotExist(err) {
		t.Errorf("the original of a deleted set is still there: %v", err)
	}
	if _, err := s.Original(id("cat's other set")); err != nil {
		t.Errorf("the other set has lost its original: %v", err)
	}
	if _, err := s.Original(id("cat")); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v, want %s", err, fault.NotFound)
	}
}

func TestOriginalsOfNoSetAreSwept(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	path := source(t, dir, "original")
	keep(t, s, "cat", path, epoch)
	orphan := filepath.Join(dir, "originals", id("never published")) // its process ended between the two steps
	if err := os.Link(path, orphan); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "originals", "lost+found")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openKeeping(t, dir, false) // they are not kept any more, but those that are there count
	entries, err := os.ReadDir(filepath.Join(dir, "originals"))
	if err != nil || len(entries) != 2 || entries[0].Name() != id("cat") && entries[1].Name() != id("cat") {
		t.Errorf("after a restart there are %v, %v", entries, err)
	}
	if _, err := s.Original(id("cat")); err != nil {
		t.Error(err)
	}
	keep(t, s, "dog", path, epoch)
	if _, err := os.Stat(filepath.Join(dir, "originals", id("dog"))); !os.IsNotExist(err) {
		t.Error("an original is kept though none is to be")
	}
}

func TestDeleteThatFailsHalfwayLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	keep(t, s, "cat", source(t, dir, "original"), epoch)
	kept := filepath.Join(dir, "originals", id("cat"))
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(kept, "what cannot be deleted like a file"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(id("cat")); err == nil {
		t.Error("no error")
	}
	if left := files(t, filepath.Join(dir, "files")); len(left) > 0 || s.Has(id("cat")) {
		t.Errorf("until the next start these take space: %q", left)
	}
}

func TestDeleteReachesNothingElse(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	path := source(t, dir, "precious")
	for _, id := range []string{"../source", "..", ".", "", "a"} {
		if err := s.Delete(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestRetentionCountsOriginals(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	var ids []string
	for i, name := range []string{"a", "b", "c"} {
		path := source(t, dir, "original of "+name)
		keep(t, s, name, path, epoch.Add(time.Duration(i)*time.Minute))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id(name))
	}
	if deleted, err := s.Prune(t.Context(), catalog.Retention{MaxBytes: 3*setSize + 2*4096}, epoch.Add(time.Hour)); deleted != 1 || err != nil {
		t.Errorf("deleted %d, %v; want the oldest", deleted, err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "originals"))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	slices.Sort(left)
	want := slices.Sorted(slices.Values(ids[1:]))
	if !slices.Equal(left, want) {
		t.Errorf("originals left: %v, want %v", left, want)
	}
}

func TestOriginalsSurviveAServedFolderThatIsNotMounted(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	keep(t, s, "cat", source(t, dir, "original"), epoch)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mounted, away := filepath.Join(dir, "files"), filepath.Join(dir, "elsewhere")
	if err := os.Rename(mounted, away); err != nil {
		t.Fatal(err)
	}
	if err := openKeeping(t, dir, true).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(mounted); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, mounted); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeeping(t, dir, true).Original(id("cat")); err != nil {
		t.Error(err)
	}
}

func TestSetIsPublishedWhenItsOriginalCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	keep(t, s, "cat", filepath.Join(dir, "nothing"), epoch)
	if !s.Has(id("cat")) {
		t.Error("it is not published")
	}
	if _, err := s.Original(id("cat")); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v, want %s", err, fault.NotFound)
	}
}

func TestOriginalIsKeptForPublishedSetsAlone(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	s.KeepOriginal(id("cat"), source(t, dir, "original"))
	if entries, err := os.ReadDir(filepath.Join(dir, "originals")); err != nil || len(entries) != 0 {
		t.Errorf("there are %v, %v", entries, err)
	}
}

func TestOriginalOfADamagedSetSurvivesAFailureToPublishItAgain(t *testing.T) {
	dir := t.TempDir()
	s := openKeeping(t, dir, true)
	path := source(t, dir, "original")
	keep(t, s, "cat", path, epoch)
	served := filepath.Join(dir, "files", id("cat"))
	for name, content := range map[string]string{manifest.FileName: "{", catalog.VariantsDir: "not a directory"} {
		if err := os.WriteFile(filepath.Join(served, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openKeeping(t, dir, true)
	set, m := begin(t, s, "cat", epoch)
	if _, err := set.Commit(m, render.Origin{Path: path}); err == nil {
		t.Fatal("it was published")
	}
	if b, err := os.ReadFile(filepath.Join(dir, "originals", id("cat"))); err != nil || string(b) != "original" {
		t.Errorf("the original contains %q, %v", b, err)
	}
	set, m = begin(t, s, "dog", epoch)
	if err := os.Mkdir(filepath.Join(dir, "files", ".damaged", id("dog")), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "files", ".damaged", id("dog"), catalog.VariantsDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := set.Commit(m, render.Origin{Path: path}); err == nil {
		t.Fatal("it was published")
	}
	if _, err := os.Stat(filepath.Join(dir, "originals", id("dog"))); !os.IsNotExist(err) {
		t.Errorf("an original without a set is left: %v", err)
	}
}
