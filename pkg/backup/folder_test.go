package backup_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	if err := store.PutSnapshot(t.Context(), "20261128T033012.123Z", nil); err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(dir, "blobs")
	if err := os.RemoveAll(blobs); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("blobs", blobs); err != nil { // cannot be opened, whoever tries
		t.Fatal(err)
	}
	if err := store.PutSnapshot(t.Context(), "20261129T033012.123Z", nil); err == nil {
		t.Error("a snapshot is stored without a look at the directory of its blobs")
	}
	if names, err := store.Snapshots(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("snapshots: %v, %v", names, err)
	}
}

// temporary returns the unfinished files below a directory.
func temporary(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.HasPrefix(e.Name(), ".") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What a killed run was writing is named like this.
const unfinished = "2379215236503669614896"

func TestNextBackupDeletesWhatAKilledOneWasWriting(t *testing.T) {
	data := newData(t)
	addSet(t, data, image)
	store, dir := newFolder(t)
	write(t, []byte("par"), dir, "blobs", digest("small " + image)[:2], "."+digest("small "+image)+unfinished)
	write(t, []byte("par"), dir, "snapshots", ".20261128T033012.123Z.jsonl.gz"+unfinished)
	mine := filepath.Join(dir, ".notes")
	write(t, nil, mine)
	runBackup(t, store, backup.Config{Dir: data})
	if found := temporary(t, dir); !slices.Equal(found, []string{mine}) {
		t.Errorf("left: %q", found)
	}
}

func TestRestoreThatIsContinuedDeletesWhatAKilledOneWasWriting(t *testing.T) {
	from, files := oneSnapshot(t, 1)
	into := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(into, "queue"), 0o750); err != nil {
		t.Fatal(err)
	}
	write(t, []byte("20261124T120000.000Z"), into, "restore-in-progress")
	for _, name := range []string{"files/" + image + "/.4.webp", "files/" + image + "/.manifest.json", "originals/." + image, ".url-key", "queue/pending/.job_1.json"} {
		write(t, []byte("par"), into, name+unfinished)
	}
	if _, err := backup.Restore(t.Context(), into, openFolder(t, from), "", func(file string, err error) { t.Error(file, err) }); err != nil {
		t.Fatal(err)
	}
	checkRestored(t, into, files)
	if found := temporary(t, into); len(found) > 0 {
		t.Errorf("left: %q", found)
	}
}

// Syncthing and people leave files with other names beside the snapshots.
func TestOnlyNamesOfSnapshotsCount(t *testing.T) {
	data := newData(t)
	store, dir := newFolder(t)
	first, _ := runBackup(t, store, backup.Config{Dir: data})
	snapshot, err := os.ReadFile(filepath.Join(dir, "snapshots", first.Snapshot+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"copy of " + first.Snapshot, first.Snapshot + ".sync-conflict-20261128-033012-ABCDEFG", "~"} {
		write(t, snapshot, dir, "snapshots", name+".jsonl.gz")
	}
	second, _ := runBackup(t, store, backup.Config{Dir: data})
	if names, err := store.Snapshots(t.Context()); err != nil || !slices.Equal(names, []string{first.Snapshot, second.Snapshot}) {
		t.Errorf("snapshots %q, %v", names, err)
	}
}

func TestSnapshotErrorsNameItAndWhatToDo(t *testing.T) {
	data := newData(t)
	store, dir := newFolder(t)
	first, _ := runBackup(t, store, backup.Config{Dir: data})
	second, _ := runBackup(t, store, backup.Config{Dir: data})
	file := filepath.Join(dir, "snapshots", second.Snapshot+".jsonl.gz")
	if err := os.Truncate(file, 30); err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(t.TempDir(), "data")
	_, err := backup.Restore(t.Context(), into, store, "", nil)
	if err == nil || !strings.Contains(err.Error(), second.Snapshot) || !strings.Contains(err.Error(), "--snapshot") {
		t.Errorf("restore of a cut snapshot: %v", err)
	}
	if _, err := backup.Run(t.Context(), backup.Config{Dir: data, Keep: 2}, store); err == nil || !strings.Contains(err.Error(), second.Snapshot) {
		t.Errorf("a backup that keeps a cut snapshot: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	future := "20991231T235959.000Z"
	if err := os.Rename(filepath.Join(dir, "snapshots", first.Snapshot+".jsonl.gz"), filepath.Join(dir, "snapshots", future+".jsonl.gz")); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Run(t.Context(), backup.Config{Dir: data}, store); err == nil || !strings.Contains(err.Error(), future) || !strings.Contains(err.Error(), "delete snapshots/"+future) {
		t.Errorf("a backup after one of the future: %v", err)
	}
}
