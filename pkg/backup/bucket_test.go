//go:build versitygw

package backup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// openBucket opens a store in a bucket, as each command does.
func openBucket(t *testing.T, server *s3test.Server) backup.Store {
	t.Helper()
	objects, err := s3.Open(s3test.Config(server.URL), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return backup.OpenBucket(objects, "/pi/")
}

func TestBackupInABucketIsRestored(t *testing.T) {
	server := s3test.Start(t)
	data, into := t.TempDir(), filepath.Join(t.TempDir(), "data")
	files := map[string]string{"url-key": "secret", "quarantine/a.json": "{}\n", "outbox/failed/b.json": `{"x":1}`}
	for name, content := range files {
		write(t, []byte(content), data, name)
	}
	if err := os.Mkdir(filepath.Join(data, "queue"), 0o750); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		totals, err := backup.Run(t.Context(), backup.Config{Dir: data, Keep: 1}, openBucket(t, server))
		if err != nil || totals.Records != len(files) {
			t.Fatalf("%+v, %v", totals, err)
		}
	}
	s := openBucket(t, server)
	if names, err := s.Snapshots(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("snapshots %v, %v; want the newest", names, err)
	}
	totals, err := backup.Restore(t.Context(), into, s, "", func(file string, err error) { t.Errorf("%s: %v", file, err) })
	if err != nil || totals.Records != len(files) {
		t.Errorf("%+v, %v", totals, err)
	}
	for name, content := range files {
		if b, err := os.ReadFile(filepath.Join(into, name)); err != nil || string(b) != content {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// A store that was killed in the middle of a put may have kept a part of an object.
func TestCutBlobInABucketIsReplaced(t *testing.T) {
	server := s3test.Start(t)
	data := newData(t)
	id := strings.Repeat("a", 26)
	addSet(t, data, id)
	runBackup(t, openBucket(t, server), backup.Config{Dir: data})
	blob := filepath.Join(server.Dir, s3test.BucketName, "pi", "blobs", digest("small "+id))
	if err := os.Truncate(blob, 1); err != nil {
		t.Fatal(err)
	}
	if totals, _ := runBackup(t, openBucket(t, server), backup.Config{Dir: data}); totals.Copied != 1 {
		t.Errorf("%d files were copied, want 1", totals.Copied)
	}
	if b, err := os.ReadFile(blob); err != nil || string(b) != "small "+id {
		t.Errorf("the blob is %q, %v", b, err)
	}
}
