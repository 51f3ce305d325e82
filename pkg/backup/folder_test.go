package backup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/backup"
)

func TestDirectoryWithoutAQueueIsNotTakenForADataFolder(t *testing.T) {
	data := t.TempDir()
	write(t, []byte("secret"), data, "url-key")
	store, err := backup.OpenFolder(filepath.Join(t.TempDir(), "backup"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := backup.Run(t.Context(), backup.Config{Dir: data}, store); err == nil || !strings.Contains(err.Error(), "is not the data folder of a daemon") {
		t.Errorf("got %v, want that it is not the data folder of a daemon", err)
	}
}

// A snapshot must not survive a power cut that its blobs do not.
func TestSnapshotIsNotStoredIfTheNamesOfBlobsCannotBeSynced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "backup")
	store, err := backup.OpenFolder(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	source := filepath.Join(t.TempDir(), "source")
	write(t, []byte("abc"), source)
	f, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := store.Put(t.Context(), strings.Repeat("ab", 32), 3, f); err != nil {
		t.Fatal(err)
	}
	if err := store.PutSnapshot(t.Context(), "one", nil); err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(dir, "blobs")
	if err := os.RemoveAll(blobs); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("blobs", blobs); err != nil { // cannot be opened, whoever tries
		t.Fatal(err)
	}
	if err := store.PutSnapshot(t.Context(), "two", nil); err == nil {
		t.Error("a snapshot is stored without a look at the directory of its blobs")
	}
	if names, err := store.Snapshots(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("snapshots: %v, %v", names, err)
	}
}
