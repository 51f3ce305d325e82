package backup_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// image is the id of the set in the backup of oneSnapshot.
const image = "k3v5qaz2w4hn6mtrxj7elbopdu"

// oneSnapshot is a backup as the first version of the format has it: of a set with a
// variant and its original, a waiting job with its source, and a key.
func oneSnapshot(t *testing.T, version int) (dir string, restored map[string]string) {
	t.Helper()
	dir = t.TempDir()
	digest := func(content string) string {
		sum := sha256.Sum256([]byte(content))
		return hex.EncodeToString(sum[:])
	}
	blob := func(content string) string {
		write(t, []byte(content), dir, "blobs", digest(content)[:2], digest(content))
		return digest(content)
	}
	m, err := manifest.Manifest{
		Version: manifest.Version, ID: image, CreatedAt: strictjson.At(time.Now()), Width: 4, Height: 3,
		Source:   manifest.Source{SHA256: blob("original"), Bytes: 8},
		Variants: []manifest.Variant{manifest.NewVariant(image, ladder.Variant{Format: ladder.WebP, Width: 4, Height: 3, Bytes: 7}, blob("variant"))},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{
		fmt.Sprintf(`{"version":%d,"created_at":"2026-11-24T12:00:00Z","optimizerd":"9.8.7"}`, version),
		`{"path":"url-key","content":"c2VjcmV0"}`,
		fmt.Sprintf(`{"path":"spool/%s","sha256":%[1]q,"bytes":6}`, blob("source")),
		`{"path":"queue/pending/job_1.json","content":"e30="}`,
		fmt.Sprintf(`{"path":"files/%s/manifest.json","sha256":%q,"bytes":%d,"original":true}`, image, blob(string(m)), len(m)),
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write([]byte(strings.Join(lines, "\n") + "\n"))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	write(t, b.Bytes(), dir, "snapshots", "20261124T120000.000Z.jsonl.gz")
	return dir, map[string]string{
		"url-key": "secret", "spool/" + digest("source"): "source", "queue/pending/job_1.json": "{}",
		"files/" + image + "/4.webp": "variant", "files/" + image + "/manifest.json": string(m), "originals/" + image: "original",
	}
}

func openFolder(t *testing.T, dir string) backup.Store {
	t.Helper()
	store, err := backup.OpenFolder(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// checkRestored checks that a data folder holds these files.
func checkRestored(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil || string(b) != content {
			t.Errorf("%s is %q (%v), want %q", name, b, err, content)
		}
	}
}

func TestBackupOfTheFirstFormatIsRestored(t *testing.T) {
	from, files := oneSnapshot(t, 1)
	into := filepath.Join(t.TempDir(), "data")
	totals, err := backup.Restore(t.Context(), into, openFolder(t, from), "", func(file string, err error) { t.Error(file, err) })
	if err != nil || totals.Sets != 1 || totals.Originals != 1 || totals.Records != 2 || totals.Sources != 1 {
		t.Errorf("restored %+v: %v", totals, err)
	}
	checkRestored(t, into, files)
}

func TestBackupOfANewerFormatIsRefusedByName(t *testing.T) {
	from, _ := oneSnapshot(t, 2)
	into := filepath.Join(t.TempDir(), "data")
	_, err := backup.Restore(t.Context(), into, openFolder(t, from), "", nil)
	if err == nil || !strings.Contains(err.Error(), "restore it with optimizerd 9.8.7 or newer") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(into); err == nil {
		t.Error("the data folder was made nevertheless")
	}
}

// interrupting is a store during whose nth read ctx ends.
type interrupting struct {
	backup.Store
	cancel context.CancelFunc
	reads  int
}

func (s *interrupting) Get(ctx context.Context, digest string) (io.ReadCloser, error) {
	if s.reads--; s.reads == 0 {
		s.cancel()
	}
	return s.Store.Get(ctx, digest)
}

func TestInterruptedRestoreFailsAndGoesOn(t *testing.T) {
	from, files := oneSnapshot(t, 1)
	store := openFolder(t, from)
	for nth := 1; nth <= 4; nth++ { // the source, the manifest, the variant and the original are read
		into := filepath.Join(t.TempDir(), "data")
		ctx, cancel := context.WithCancel(t.Context())
		interrupted := &interrupting{Store: store, cancel: cancel, reads: nth}
		if _, err := backup.Restore(ctx, into, interrupted, "", func(file string, err error) { t.Error(file, err) }); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted at read %d: got %v", nth, err)
		}
		if err := os.WriteFile(filepath.Join(into, "notes.txt"), nil, 0o600); err != nil { // no longer empty
			t.Fatal(err)
		}
		if _, err := backup.Run(t.Context(), backup.Config{Dir: into}, store); err == nil || !strings.Contains(err.Error(), "run 'optimizerd restore' again") {
			t.Errorf("a backup of a part of the data: %v", err)
		}
		totals, err := backup.Restore(t.Context(), into, store, "", func(file string, err error) { t.Error(file, err) })
		if err != nil || totals.Sets != 1 || totals.Originals != 1 || totals.Records != 2 || totals.Sources != 1 {
			t.Errorf("after an interruption at read %d: %+v, %v", nth, totals, err)
		}
		checkRestored(t, into, files)
		if err := backup.Complete(into); err != nil {
			t.Error(err)
		}
		if _, err := backup.Restore(t.Context(), into, store, "", nil); err == nil || !strings.Contains(err.Error(), "is not empty") {
			t.Errorf("a complete restore is repeated: %v", err)
		}
	}
}
