//go:build versitygw

package bucket_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// A file that was lost is made again by another version of libvips, with other bytes. The
// manifest that is still there describes the lost one.
func TestSetThatLostAFileMatchesItsManifestOnceItIsMadeAgain(t *testing.T) {
	server := s3test.Start(t)
	dir := t.TempDir()
	n := open(t, server.URL, dir)
	if _, err := n.publish(t, "cat", "an old maker"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(server.Dir, s3test.BucketName, id("cat"), "640.webp")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.read(t, id("cat"), "640.webp"); fault.CodeOf(err) != fault.NotFound {
		t.Fatalf("got %v", err)
	}
	if _, err := n.publish(t, "cat", "maker"); err != nil {
		t.Fatal(err)
	}
	n.checkWhole(t, id("cat"))
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, server.URL, dir)
	again.checkWhole(t, id("cat"))
	rebuilt, err := again.Rebuild(t.Context(), func(int) {})
	if err != nil || rebuilt.Sets != 1 || rebuilt.Damaged != 0 {
		t.Errorf("rebuilt: %+v, %v", rebuilt, err)
	}
	again.checkWhole(t, id("cat"))
}

// The source is deleted once its set is published: an original that could not be stored
// at that moment would be lost.
func TestSetIsNotPublishedWithoutItsOriginalWhileTheStoreIsAway(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	n := open(t, proxy.URL, t.TempDir())
	content := "GIF89a-original"
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for code, c := range map[string]struct {
		status int
		want   fault.Code
	}{
		"SlowDown":      {http.StatusServiceUnavailable, fault.Unavailable},
		"QuotaExceeded": {http.StatusForbidden, fault.InsufficientStorage},
	} {
		proxy.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			refuse := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/originals/")
			if refuse {
				s3test.Refuse(w, c.status, code)
			}
			return refuse
		})
		set, m := n.begin(t, content, "maker")
		if _, err := set.Commit(m, render.Origin{Path: path}); fault.CodeOf(err) != c.want || n.Has(m.ID) {
			t.Errorf("%s: got %v, want %s", code, err, c.want)
		}
	}
	proxy.Intercept(nil)
	set, m := n.begin(t, content, "maker")
	if _, err := set.Commit(m, render.Origin{Path: path}); err != nil {
		t.Fatal(err)
	}
	if n.OriginalSize(m.ID) != int64(len(content)) {
		t.Error("the original is not kept")
	}
}

// Another process deletes the set while this one makes it again.
func TestSetIsMadeAgainIfItsManifestIsDeletedMeanwhile(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	open(t, server.URL, t.TempDir()).mustPublish(t, "cat")
	n := open(t, proxy.URL, t.TempDir())
	stored := filepath.Join(server.Dir, s3test.BucketName, id("cat"), manifest.FileName)
	proxy.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, manifest.FileName) {
			proxy.Intercept(nil)
			if err := os.Remove(stored); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	n.mustPublish(t, "cat")
	n.checkWhole(t, id("cat"))
	if _, err := os.Stat(stored); err != nil {
		t.Error(err)
	}
}

// A manifest that cannot be read does not keep its image from being made again.
func TestDamagedManifestIsReplaced(t *testing.T) {
	server := s3test.Start(t)
	open(t, server.URL, t.TempDir()).mustPublish(t, "cat")
	stored := filepath.Join(server.Dir, s3test.BucketName, id("cat"), manifest.FileName)
	if err := os.WriteFile(stored, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := open(t, server.URL, t.TempDir()) // its index lacks the set
	n.mustPublish(t, "cat")
	if rebuilt, err := n.Rebuild(t.Context(), func(int) {}); err != nil || rebuilt.Sets != 1 || rebuilt.Damaged != 0 {
		t.Errorf("rebuilt: %+v, %v", rebuilt, err)
	}
}
