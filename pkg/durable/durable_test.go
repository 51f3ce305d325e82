package durable_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/durable"
)

func TestWriteReplacesAndLeavesNothingBeside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "job.json")
	for _, want := range []string{"one", "two, longer"} {
		if err := durable.Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("the folder has %v, %v; want one file", names, err)
	}
}

func TestWriteIntoAMissingFolderFails(t *testing.T) {
	if err := durable.Write(filepath.Join(t.TempDir(), "no", "x"), nil); err == nil {
		t.Error("no error")
	}
}

func TestRenameMovesFolders(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, ".staging", "a"), filepath.Join(dir, "a")
	if err := os.MkdirAll(from, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := durable.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(to); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(from); !os.IsNotExist(err) {
		t.Errorf("the old name is still there: %v", err)
	}
}

func TestSweepRemovesWhatInterruptedWritesLeft(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"clock", ".clock12345", ".clock", "recipes", ".recipes678", "clock.bak"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".clocks"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.Sweep(filepath.Join(dir, "clock")); err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(os.DirFS(dir), "*")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{".clocks", ".recipes678", "clock", "clock.bak", "recipes"}; !slices.Equal(names, want) {
		t.Errorf("left: %q, want %q", names, want)
	}
}
