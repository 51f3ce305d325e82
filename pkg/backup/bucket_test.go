//go:build versitygw

package backup_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

func TestABackupInABucketIsRestored(t *testing.T) {
	server := s3test.Start(t)
	store := func() backup.Store {
		objects, err := s3.Open(s3test.Config(server.URL), s3test.Key(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return backup.OpenBucket(objects, "/pi/")
	}
	data := t.TempDir()
	files := map[string]string{"url-key": "secret", "quarantine/a.json": "{}\n", "outbox/failed/b.json": `{"x":1}`}
	for name, content := range files {
		path := filepath.Join(data, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := backup.Run(t.Context(), backup.Config{Dir: data}, store()); err == nil {
		t.Error("a folder without a queue was taken for one of a daemon")
	}
	if err := os.Mkdir(filepath.Join(data, "queue"), 0o750); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		totals, err := backup.Run(t.Context(), backup.Config{Dir: data, Keep: 1}, store())
		if err != nil || totals.Records != len(files) {
			t.Fatalf("%+v, %v", totals, err)
		}
	}
	into := filepath.Join(t.TempDir(), "data")
	s := store()
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
