package render_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/render"
)

// world renders one upload with one ladder after another, as daemons with other
// settings would.
type world struct {
	*testing.T
	store   *publish.Store
	history string // path

	notBefore time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	store, err := publish.Open(publish.Config{Dir: filepath.Join(dir, "files")}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &world{T: t, store: store, history: filepath.Join(dir, "recipes")}
}

func ladderOf(widths ...int) ladder.Recipe {
	c := ladder.DefaultConfig()
	c.Widths = widths
	return c.Recipe()
}

// upload makes the set of a job, with defaults for an upload of the text "source".
func (w *world) upload(present ladder.Recipe, j job.Job) manifest.Manifest {
	w.Helper()
	history, err := render.OpenHistory(w.history, present)
	if err != nil {
		w.Fatal(err)
	}
	return w.render(history, present, j)
}

func (w *world) render(history render.History, present ladder.Recipe, j job.Job) manifest.Manifest {
	w.Helper()
	src, err := os.Open(os.DevNull)
	if err != nil {
		w.Fatal(err)
	}
	defer src.Close()
	digest := sha256.Sum256([]byte("source"))
	j.Source = job.Source{SHA256: hex.EncodeToString(digest[:])}
	if !j.Recipe.Valid() {
		j.Recipe = present
	}
	j.ImageID = j.Recipe.ID(digest)
	r := render.Renderer{Engine: sized{1000, 1000}, Sets: w.store, Log: zap.NewNop(), History: history, NotBefore: w.notBefore}
	m, _, err := r.Render(w.Context(), src, j)
	if err != nil {
		w.Fatal(err)
	}
	return m
}

// Version 0.1.0, with engine 2, has no history of ladders.
func TestReplacesNamesTheSetOfTheFirstVersion(t *testing.T) {
	w := newWorld(t)
	present := ladder.DefaultConfig().Recipe()
	first := present
	first.Engine = 2
	if got := first.ShortFingerprint(); got != "3c165b2b" {
		t.Errorf("the recipe of the default ladder is %s, want that of version 0.1.0", got)
	}
	before := w.render(nil, first, job.Job{})
	if got := w.upload(present, job.Job{}); got.Replaces != before.ID {
		t.Errorf("the set of the present engine replaces %q, want %q", got.Replaces, before.ID)
	}
}

func TestReplacesNamesTheSetOfTheLadderBefore(t *testing.T) {
	w := newWorld(t)
	a, b, c := ladderOf(16), ladderOf(32), ladderOf(48)
	first := w.upload(a, job.Job{})
	if first.Replaces != "" {
		t.Errorf("the first set replaces %s", first.Replaces)
	}
	second := w.upload(b, job.Job{})
	if second.Replaces != first.ID {
		t.Errorf("the second set replaces %q, want %s", second.Replaces, first.ID)
	}
	if err := w.store.Delete(second.ID); err != nil {
		t.Fatal(err)
	}
	third := w.upload(c, job.Job{})
	if third.Replaces != first.ID {
		t.Errorf("with the second deleted, the third set replaces %q, want %s", third.Replaces, first.ID)
	}
	// Back to the first ladder, whose set was deleted meanwhile.
	if err := w.store.Delete(first.ID); err != nil {
		t.Fatal(err)
	}
	if again := w.upload(a, job.Job{}); again.Replaces != third.ID {
		t.Errorf("the set of the restored ladder replaces %q, want %s", again.Replaces, third.ID)
	}
}

func TestReplacesIsOnlyForTheLadder(t *testing.T) {
	w := newWorld(t)
	c := ladder.DefaultConfig()
	c.Widths = []int{16}
	first := w.upload(c.Recipe(), job.Job{})
	present := ladderOf(32)
	c.Widths = []int{48}
	for what, j := range map[string]job.Job{
		"a variant on demand":                   {Recipe: c.Single(ladder.Box{Width: 20}, ladder.JPEG)},
		"a ladder by other settings of its own": {Recipe: c.Recipe()},
	} {
		if m := w.upload(present, j); m.Replaces != "" {
			t.Errorf("%s replaces %s", what, m.Replaces)
		}
	}
	// A stored image that is named is the predecessor, whatever was before.
	if m := w.upload(present, job.Job{Input: "image:" + first.ID}); m.Replaces != first.ID {
		t.Errorf("replaces is %q, want %s", m.Replaces, first.ID)
	}
}

func TestHistoryThatCannotBeWrittenOrReadLosesNoUpload(t *testing.T) {
	w := newWorld(t)
	first := w.upload(ladderOf(16), job.Job{})
	garbage := append([]byte("no fingerprint\nabcd\n"), must(os.ReadFile(w.history))...)
	if err := os.WriteFile(w.history, garbage, 0o600); err != nil {
		t.Fatal(err)
	}
	if m := w.upload(ladderOf(32), job.Job{}); m.Replaces != first.ID {
		t.Errorf("with a damaged line, replaces is %q, want %s", m.Replaces, first.ID)
	}
	w.history = filepath.Join(w.history, "not-a-directory")
	history, err := render.OpenHistory(w.history, ladderOf(48))
	if err == nil {
		t.Error("a file that cannot be written is no error")
	}
	if m := w.render(history, ladderOf(48), job.Job{}); m.Replaces != "" {
		t.Errorf("replaces is %q", m.Replaces)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
