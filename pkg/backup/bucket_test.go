//go:build versitygw

package backup_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// openBucket opens a store in a bucket, as each command does.
func openBucket(t *testing.T, url string) backup.Store {
	t.Helper()
	objects, err := s3.Open(s3test.Config(url), s3test.Key(), nil)
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
		totals, err := backup.Run(t.Context(), backup.Config{Dir: data, Keep: 1}, openBucket(t, server.URL))
		if err != nil || totals.Records != len(files) {
			t.Fatalf("%+v, %v", totals, err)
		}
	}
	s := openBucket(t, server.URL)
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
	runBackup(t, openBucket(t, server.URL), backup.Config{Dir: data})
	blob := filepath.Join(server.Dir, s3test.BucketName, "pi", "blobs", digest("small "+id))
	if err := os.Truncate(blob, 1); err != nil {
		t.Fatal(err)
	}
	if totals, _ := runBackup(t, openBucket(t, server.URL), backup.Config{Dir: data}); totals.Copied != 1 {
		t.Errorf("%d files were copied, want 1", totals.Copied)
	}
	if b, err := os.ReadFile(blob); err != nil || string(b) != "small "+id {
		t.Errorf("the blob is %q, %v", b, err)
	}
}

func TestVerifyFindsDamageInABucketThatTheNextBackupHeals(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	data := newData(t)
	a, b := strings.Repeat("a", 26), strings.Repeat("b", 26)
	addSet(t, data, a)
	first, _ := runBackup(t, openBucket(t, server.URL), backup.Config{Dir: data})
	addSet(t, data, b)
	second, _ := runBackup(t, openBucket(t, server.URL), backup.Config{Dir: data})
	if totals, found := verifyBackup(t, openBucket(t, server.URL), backup.VerifyConfig{}); len(found) > 0 || totals.Files != 8 || len(totals.Snapshots) != 2 {
		t.Fatalf("of a sound backup: %+v, %+v", found, totals)
	}
	object := func(content string) string {
		return filepath.Join(server.Dir, s3test.BucketName, "pi", "blobs", digest(content))
	}
	for content, damage := range map[string]string{"small " + a: "changed", "larger " + a: "cut", "original " + b: "missing"} {
		if err := damages[damage].do(object(content)); err != nil {
			t.Fatal(err)
		}
	}

	before := proxy.Requests("GET")
	if _, found := verifyBackup(t, openBucket(t, proxy.URL), backup.VerifyConfig{Quick: true}); len(found) != 2 {
		t.Errorf("the quick check found %+v", found)
	}
	if n := proxy.Requests("GET") - before; n != 8 { // three lists of snapshots, two snapshots, the list of blobs, two manifests
		t.Errorf("the quick check made %d requests, want 8", n)
	}
	_, found := verifyBackup(t, openBucket(t, proxy.URL), backup.VerifyConfig{})
	both := []string{first.Snapshot, second.Snapshot}
	wantProblems(t, found,
		backup.Problem{Kind: backup.DamagedFile, File: "files/" + a + "/4.webp", Image: a, Blob: digest("small " + a), Snapshots: both},
		backup.Problem{Kind: backup.DamagedFile, File: "files/" + a + "/8.webp", Image: a, Blob: digest("larger " + a), Snapshots: both},
		backup.Problem{Kind: backup.MissingFile, File: "originals/" + b, Image: b, Blob: digest("original " + b), Snapshots: both[1:]})
	if n := proxy.Requests("PUT") + proxy.Requests("DELETE"); n != 0 {
		t.Errorf("the checks made %d requests that write", n)
	}
}

func TestRepairInABucketLetsTheNextBackupCopyAgain(t *testing.T) {
	server := s3test.Start(t)
	data := newData(t)
	id := strings.Repeat("a", 26)
	addSet(t, data, id)
	runBackup(t, openBucket(t, server.URL), backup.Config{Dir: data})
	prefix := filepath.Join(server.Dir, s3test.BucketName, "pi")
	blob := filepath.Join(prefix, "blobs", digest("small "+id))
	repair := func() (backup.Store, error) { return openBucket(t, server.URL), nil }
	for _, damage := range []string{"changed", "cut"} { // the second one replaces what was set aside
		if err := damages[damage].do(blob); err != nil {
			t.Fatal(err)
		}
		damaged := contentOf(t, blob)
		if _, found := verifyBackup(t, openBucket(t, server.URL), backup.VerifyConfig{Repair: repair}); len(found) != 1 || !found[0].SetAside {
			t.Errorf("%s: found %+v", damage, found)
		}
		if aside := contentOf(t, filepath.Join(prefix, "damaged", digest("small "+id))); aside != damaged {
			t.Errorf("%s: set aside is %q, want %q", damage, aside, damaged)
		}
		runBackup(t, openBucket(t, server.URL), backup.Config{Dir: data})
		_, found := verifyBackup(t, openBucket(t, server.URL), backup.VerifyConfig{})
		wantProblems(t, found)
	}
}

// A store that is out of reach says nothing about the backup.
func TestVerifyOfABucketThatFailsIsNoDamage(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	data := newData(t)
	addSet(t, data, strings.Repeat("a", 26))
	runBackup(t, openBucket(t, server.URL), backup.Config{Dir: data})
	proxy.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		refused := strings.Contains(r.URL.Path, "/blobs/")
		if refused {
			s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		}
		return refused
	})
	report := func(p backup.Problem) { t.Errorf("found %+v", p) }
	if _, err := backup.Verify(t.Context(), backup.VerifyConfig{Report: report}, openBucket(t, proxy.URL)); !s3.Is(err, s3.Denied) {
		t.Errorf("got %v", err)
	}
}
