package backup_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
	"github.com/optimizerd/optimizerd/pkg/verify"
)

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// addSet adds a set with a variant, a second one that is larger, and its original to a
// data folder, and returns the path of its directory.
func addSet(t *testing.T, data, id string) (dir string) {
	t.Helper()
	return addSetOf(t, data, id, id)
}

// addSetOf is addSet for an image with the original of another one.
func addSetOf(t *testing.T, data, id, source string) (dir string) {
	t.Helper()
	variants := make([]manifest.Variant, 2)
	for i, content := range []string{"small " + id, "larger " + id} {
		v := ladder.Variant{Format: ladder.WebP, Width: 4 * (i + 1), Height: 3 * (i + 1), Bytes: int64(len(content))}
		variants[i] = manifest.NewVariant(id, v, digest(content))
		write(t, []byte(content), data, "files", variants[i].Key)
	}
	original := "original " + source
	m, err := manifest.Manifest{
		Version: manifest.Version, ID: id, CreatedAt: strictjson.At(time.Now()), Width: 8, Height: 6,
		Source: manifest.Source{SHA256: digest(original), Bytes: int64(len(original))}, Variants: variants,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, m, data, "files", id, manifest.FileName)
	write(t, []byte(original), data, "originals", id)
	return filepath.Join(data, "files", id)
}

// newData returns a data folder.
func newData(t *testing.T) string {
	t.Helper()
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "queue", "pending"), 0o750); err != nil {
		t.Fatal(err)
	}
	return data
}

func newFolder(t *testing.T) (store backup.Store, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "backup")
	store, err := backup.OpenFolder(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store, dir
}

// awaitNextMillisecond returns in a millisecond of which no snapshot has its name yet.
func awaitNextMillisecond() {
	for began := time.Now().UnixMilli(); time.Now().UnixMilli() == began; {
	}
}

// runBackup makes a backup and returns the files that it has left out.
func runBackup(t *testing.T, store backup.Store, c backup.Config) (totals backup.Totals, leftOut []string) {
	t.Helper()
	awaitNextMillisecond()
	c.Damaged = func(file string, err error) {
		t.Log(file, err)
		leftOut = append(leftOut, file)
	}
	totals, err := backup.Run(t.Context(), c, store)
	if err != nil {
		t.Fatal(err)
	}
	return totals, leftOut
}

// setsAside restores the newest snapshot and returns the sets that verify finds to be set
// aside, with the original that each can be made again from.
func setsAside(t *testing.T, store backup.Store, damaged int) (totals backup.Totals, originals map[string]string) {
	t.Helper()
	into := filepath.Join(t.TempDir(), "data")
	totals, err := backup.Restore(t.Context(), into, store, "", func(file string, err error) { t.Log(file, err) })
	if err != nil || totals.Damaged != damaged {
		t.Fatalf("restored %+v, %v; want %d damaged", totals, err, damaged)
	}
	originals = make(map[string]string)
	c := verify.Config{Files: filepath.Join(into, "files"), Originals: filepath.Join(into, "originals"), Report: func(p verify.Problem) {
		if p.Kind != verify.SetAside {
			t.Errorf("verify finds %+v", p)
			return
		}
		b, err := os.ReadFile(p.Original)
		if err != nil {
			t.Error(err)
		}
		originals[p.ID] = string(b)
	}}
	if _, err := verify.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return totals, originals
}

// An image can be made again from its original, whatever has become of its set.
func TestOriginalOfADamagedSetIsInTheBackup(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"a cut file":         func(dir string) error { return os.Truncate(filepath.Join(dir, "4.webp"), 1) },
		"a missing file":     func(dir string) error { return os.Remove(filepath.Join(dir, "8.webp")) },
		"an unreadable file": func(dir string) error { return replaceByDir(filepath.Join(dir, "4.webp")) },
		"a damaged manifest": func(dir string) error { return os.Truncate(filepath.Join(dir, manifest.FileName), 9) },
		"manifest of another": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, manifest.FileName)),
				os.Link(filepath.Join(filepath.Dir(dir), strings.Repeat("a", 26), manifest.FileName), filepath.Join(dir, manifest.FileName)))
		},
		"no manifest":         func(dir string) error { return os.Remove(filepath.Join(dir, manifest.FileName)) },
		"unreadable manifest": func(dir string) error { return replaceByDir(filepath.Join(dir, manifest.FileName)) },
		"set aside": func(dir string) error {
			aside := filepath.Join(filepath.Dir(dir), ".damaged")
			return errors.Join(os.Mkdir(aside, 0o755), os.Rename(dir, filepath.Join(aside, filepath.Base(dir))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := newData(t)
			store, _ := newFolder(t)
			sound, damaged := strings.Repeat("a", 26), strings.Repeat("b", 26)
			addSet(t, data, sound)
			if err := damage(addSet(t, data, damaged)); err != nil {
				t.Fatal(err)
			}
			saved, leftOut := runBackup(t, store, backup.Config{Dir: data})
			if saved.Sets != 1 || saved.Originals != 2 || saved.Damaged != 1 || !strings.Contains(strings.Join(leftOut, " "), damaged) {
				t.Errorf("saved %+v without %q", saved, leftOut)
			}
			restored, originals := setsAside(t, store, 0)
			if restored.Sets != 1 || restored.Originals != 2 || originals[damaged] != "original "+damaged || len(originals) != 1 {
				t.Errorf("restored %+v, set aside: %q", restored, originals)
			}
		})
	}
}

// replaceByDir makes a file one that cannot be read, whoever tries.
func replaceByDir(file string) error {
	return errors.Join(os.Remove(file), os.Mkdir(file, 0o755))
}

// On a disk that begins to fail, a backup of the rest matters most.
func TestUnreadableRecordDoesNotEndTheBackup(t *testing.T) {
	data := newData(t)
	store, _ := newFolder(t)
	addSet(t, data, strings.Repeat("a", 26))
	write(t, []byte("{}"), data, "outbox", "msg_1.json")
	if err := os.Mkdir(filepath.Join(data, "outbox", "msg_2.json"), 0o750); err != nil {
		t.Fatal(err)
	}
	saved, leftOut := runBackup(t, store, backup.Config{Dir: data})
	if saved.Sets != 1 || saved.Records != 1 || saved.Damaged != 1 || !slices.Equal(leftOut, []string{"outbox/msg_2.json"}) {
		t.Errorf("saved %+v without %q", saved, leftOut)
	}
}

// The older snapshots may have what the newest one lacks.
func TestSnapshotsAreKeptWhileSomethingIsLeftOut(t *testing.T) {
	data := newData(t)
	store, _ := newFolder(t)
	id := strings.Repeat("a", 26)
	dir := addSet(t, data, id)
	runBackup(t, store, backup.Config{Dir: data, Keep: 1})
	if err := os.Truncate(filepath.Join(dir, "4.webp"), 1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if totals, _ := runBackup(t, store, backup.Config{Dir: data, Keep: 1}); totals.Deleted != 0 {
			t.Errorf("%d snapshots were deleted", totals.Deleted)
		}
	}
	names, err := store.Snapshots(t.Context())
	if err != nil || len(names) != 4 {
		t.Fatalf("snapshots %q, %v", names, err)
	}
	totals, err := backup.Restore(t.Context(), filepath.Join(t.TempDir(), "data"), store, names[0], func(file string, err error) { t.Error(file, err) })
	if err != nil || totals.Sets != 1 {
		t.Errorf("restored from the first snapshot: %+v, %v", totals, err)
	}
	addSet(t, data, id) // made again
	if totals, _ := runBackup(t, store, backup.Config{Dir: data, Keep: 1}); totals.Deleted != 4 {
		t.Errorf("%d snapshots were deleted once the set was sound, want 4", totals.Deleted)
	}
}

// What is sound of a set is restored, though a file of it is damaged in the backup.
func TestSetThatIsDamagedInTheBackupIsSetAsideWithItsOriginal(t *testing.T) {
	data := newData(t)
	store, dir := newFolder(t)
	id := strings.Repeat("a", 26)
	addSet(t, data, id)
	runBackup(t, store, backup.Config{Dir: data})
	blob := digest("small " + id)
	write(t, []byte("x"), dir, "blobs", blob[:2], blob)
	restored, originals := setsAside(t, store, 1)
	if restored.Sets != 0 || restored.Originals != 1 || originals[id] != "original "+id {
		t.Errorf("restored %+v, set aside: %q", restored, originals)
	}
}

// Until the manifest of a set that is only in the backup is sound again, it is not known
// which blobs are needed.
func TestDamagedManifestKeepsSnapshotsUntilItIsRepaired(t *testing.T) {
	id := strings.Repeat("a", 26)
	data, dir := closedFolder(t, id)
	backupTo(t, data, dir, 0)
	backupTo(t, data, dir, 0)
	set := filepath.Join(data, "files", id)
	if err := damages["changed"].do(pathOfBlob(dir, contentOf(t, filepath.Join(set, manifest.FileName)))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(set); err != nil {
		t.Fatal(err)
	}
	store := openFolder(t, dir)
	awaitNextMillisecond()
	if _, err := backup.Run(t.Context(), backup.Config{Dir: data, Keep: 2}, store); err == nil || !strings.Contains(err.Error(), "'optimizerd backup verify --repair' sets it aside") {
		t.Errorf("a backup that keeps a damaged manifest: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{Repair: repairIn(dir)})
	addSet(t, data, id)
	backupTo(t, data, dir, 2)
	if totals, found := verifyBackup(t, readFolder(t, dir), backup.VerifyConfig{}); len(found) > 0 || len(totals.Snapshots) != 2 {
		t.Errorf("after the repair: %+v, %+v", found, totals)
	}
}

// reads is a store that counts the blobs that are read.
type reads struct {
	backup.Store

	blobs int
}

func (r *reads) Get(ctx context.Context, digest string) (io.ReadCloser, error) {
	r.blobs++
	return r.Store.Get(ctx, digest)
}

func TestSnapshotsAreDeletedWithoutReadingManifestsThatAreHere(t *testing.T) {
	data := newData(t)
	folder, _ := newFolder(t)
	store := &reads{Store: folder}
	addSet(t, data, strings.Repeat("a", 26))
	deleted := addSet(t, data, strings.Repeat("b", 26))
	for range 3 {
		runBackup(t, store, backup.Config{Dir: data, Keep: 2})
	}
	if store.blobs != 0 {
		t.Errorf("%d blobs were read, want none", store.blobs)
	}
	if err := os.RemoveAll(deleted); err != nil {
		t.Fatal(err)
	}
	if totals, _ := runBackup(t, store, backup.Config{Dir: data, Keep: 2}); totals.Deleted != 1 || store.blobs != 1 {
		t.Errorf("%d snapshots were deleted and %d blobs read, want 1 and the manifest that is only in the backup", totals.Deleted, store.blobs)
	}
}
