package publish_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

const many = 1000 // sets, from which on there is an index

// store writes a set without files, as somebody may while no daemon runs.
func store(tb testing.TB, dir string, n int, at time.Time) {
	tb.Helper()
	m := manifest.Manifest{Version: manifest.Version, ID: id(fmt.Sprint(n)), CreatedAt: strictjson.At(at)}
	encoded, err := m.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, m.ID), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, m.ID, manifest.FileName), encoded, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func storeMany(tb testing.TB, dir string, sets int) {
	tb.Helper()
	for n := range sets {
		store(tb, dir, n, epoch.Add(time.Duration(n)*time.Second))
	}
}

func TestOrderSurvivesARestartOfManySets(t *testing.T) {
	dir := t.TempDir()
	storeMany(t, dir, many)
	s := open(t, dir)
	want := s.IDs()
	reopen(t, &s, dir) // the manifests are not read again
	if got := s.IDs(); !slices.Equal(got, want) {
		t.Error("the order is another one")
	}
	reopen(t, &s, dir)
	if got := s.IDs(); !slices.Equal(got, want) {
		t.Error("after another restart, the order is another one")
	}
}

func TestIndexSeesWhatChangedWhileNoDaemonRan(t *testing.T) {
	dir := t.TempDir()
	storeMany(t, dir, many)
	s := open(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, id("5"))); err != nil {
		t.Fatal(err)
	}
	store(t, dir, many, epoch.Add(-time.Hour))
	s = open(t, dir)
	ids := s.IDs()
	if len(ids) != many || ids[0] != id(fmt.Sprint(many-1)) || ids[many-1] != id(fmt.Sprint(many)) || s.Has(id("5")) {
		t.Errorf("%d sets, newest %s, oldest %s", len(ids), ids[0], ids[many-1])
	}
}

// Versions without an index leave it there. In the meantime a set may have been deleted
// and made again.
func TestIndexOfBeforeAnOlderVersionRanIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	storeMany(t, dir, many)
	s := open(t, dir)
	reopen(t, &s, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	store(t, dir, 0, epoch.Add(time.Hour))
	s = open(t, dir)
	if ids := s.IDs(); ids[many-1] != id("0") {
		t.Errorf("the oldest set is %s: the index was not used", ids[many-1])
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	staging := filepath.Join(dir, ".staging") // as an older version makes and removes it
	if err := errors.Join(os.Mkdir(staging, 0o700), os.Remove(staging)); err != nil {
		t.Fatal(err)
	}
	if ids := open(t, dir).IDs(); ids[0] != id("0") {
		t.Errorf("the newest set is %s, want the one that was made again", ids[0])
	}
}

// Since a crash, a set may have been deleted and made again.
func TestManifestsDecideAfterACrash(t *testing.T) {
	dir := t.TempDir()
	storeMany(t, dir, many)
	s := open(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, ".staging"), 0o700); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	store(t, dir, 0, epoch.Add(time.Hour))
	if ids := open(t, dir).IDs(); ids[0] != id("0") {
		t.Errorf("the newest set is %s, want the one that was made again", ids[0])
	}
}

// BenchmarkOpen is the start of a daemon with many sets, whose directory is in the
// page cache.
func BenchmarkOpen(b *testing.B) {
	const sets = 100_000
	dir := b.TempDir()
	storeMany(b, dir, sets)
	start := func(b *testing.B) {
		s, err := publish.Open(publish.Config{Dir: dir}, zap.NewNop())
		if err != nil {
			b.Fatal(err)
		}
		if n := s.Len(); n != sets {
			b.Fatalf("%d sets, want %d", n, sets)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("after a crash", func(b *testing.B) {
		for b.Loop() {
			if err := os.Mkdir(filepath.Join(dir, ".staging"), 0o700); err != nil {
				b.Fatal(err)
			}
			start(b)
		}
	})
	b.Run("after a stop", func(b *testing.B) {
		for b.Loop() {
			start(b)
		}
	})
}
