package backup_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// write writes a file of a data folder.
func write(t *testing.T, content []byte, elem ...string) {
	t.Helper()
	file := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := durable.Write(file, content); err != nil {
		t.Fatal(err)
	}
}

// failedUpload is the record of an upload that failed.
func failedUpload(t *testing.T, source []byte) (j job.Job, record []byte) {
	t.Helper()
	sum := sha256.Sum256(source)
	j = job.New(job.Job{Source: job.Source{SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(source))}, Recipe: ladder.DefaultConfig().Recipe()}, time.Now())
	if err := j.Start(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := j.Fail(fault.New(fault.CorruptImage, "Damaged."), time.Now()); err != nil {
		t.Fatal(err)
	}
	record, err := j.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return j, record
}

func TestBackupCarriesTheRecordsOfVariantsAndTheSourcesOfFailedUploads(t *testing.T) {
	data, into := t.TempDir(), filepath.Join(t.TempDir(), "data")
	image, variant := strings.Repeat("a", 26), strings.Repeat("b", 26)
	m, err := manifest.Manifest{Version: manifest.Version, ID: image, CreatedAt: strictjson.At(time.Now()), Source: manifest.Source{SHA256: strings.Repeat("0", 64)}, Width: 1, Height: 1}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, m, data, "files", image, manifest.FileName)
	write(t, nil, data, "files", image, catalog.VariantsDir, variant)
	source := []byte("a damaged image")
	j, record := failedUpload(t, source)
	write(t, record, data, "queue", "failed", j.ID+".json")
	write(t, source, data, "retry", j.ID)
	gone, record := failedUpload(t, []byte("another")) // its source is not kept any more
	write(t, record, data, "queue", "failed", gone.ID+".json")

	store, err := backup.OpenFolder(filepath.Join(t.TempDir(), "backup"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	saved, err := backup.Run(t.Context(), backup.Config{Dir: data, Damaged: func(file string, err error) { t.Error(file, err) }}, store)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := backup.Restore(t.Context(), into, store, "", func(file string, err error) { t.Error(file, err) })
	if err != nil || restored.Records != saved.Records || restored.Sources != 1 || saved.Sources != 1 {
		t.Errorf("saved %+v, restored %+v: %v", saved, restored, err)
	}
	if _, err := os.Stat(filepath.Join(into, "files", image, catalog.VariantsDir, variant)); err != nil {
		t.Errorf("the record of the variant: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(into, "retry", j.ID)); string(b) != string(source) {
		t.Errorf("the source of the failed upload is %q, %v", b, err)
	}
}

// The age of records counts: by it, ended jobs expire and sets in a bucket are listed.
func TestRecordsAreRestoredWithTheirTimes(t *testing.T) {
	data, into := t.TempDir(), filepath.Join(t.TempDir(), "data")
	j, record := failedUpload(t, []byte("a damaged image"))
	files := map[string][]byte{
		filepath.Join("queue", "failed", j.ID+".json"):          record,
		filepath.Join("index", strings.Repeat("a", 26)+".json"): []byte("{}"),
	}
	then := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	for name, content := range files {
		write(t, content, data, name)
		if err := os.Chtimes(filepath.Join(data, name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	store, err := backup.OpenFolder(filepath.Join(t.TempDir(), "backup"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := backup.Run(t.Context(), backup.Config{Dir: data}, store); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(t.Context(), into, store, "", func(file string, err error) { t.Error(file, err) }); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		info, err := os.Stat(filepath.Join(into, name))
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime().Equal(then) {
			t.Errorf("%s is of %v, want %v", name, info.ModTime(), then)
		}
	}
}
