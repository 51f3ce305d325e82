//go:build versitygw

package bucket_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// upload stores the same source for each of the jobs.
func (n node) upload(t *testing.T, jobIDs ...string) bucket.Uploads {
	t.Helper()
	path := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(path, []byte("cat"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("cat"))
	uploads := bucket.Uploads{Store: n.Store}
	for _, id := range jobIDs {
		if err := uploads.Put(id, hex.EncodeToString(sum[:]), path); err != nil {
			t.Fatal(err)
		}
	}
	return uploads
}

func TestSweepDeletesOneUploadAfterAnother(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	n := open(t, proxy.URL, t.TempDir())
	var ids []string
	for i := range 30 {
		ids = append(ids, fmt.Sprint("job_", i))
	}
	uploads := n.upload(t, ids...)
	before, asked, done := proxy.Requests(http.MethodDelete), 0, make(chan struct{})
	uploads.Sweep(func(string) bool {
		if deleted := proxy.Requests(http.MethodDelete) - before; deleted != asked {
			t.Errorf("%d of %d uploads were deleted before the next one", deleted, asked)
		}
		if asked++; asked == len(ids) {
			close(done)
		}
		return false
	}, time.Now().Add(48*time.Hour))
	<-done
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, server); len(left) > 0 {
		t.Errorf("the bucket has %v", left)
	}
}

func TestCloseEndsTheDeletionsOfUploads(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	n := open(t, proxy.URL, t.TempDir())
	uploads := n.upload(t, "job_1")
	began, closing := make(chan struct{}, 2), make(chan struct{})
	proxy.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		began <- struct{}{}
		if r.Method == http.MethodGet { // Close ends it first
			<-r.Context().Done()
			close(closing)
			s3test.HangUp()
		}
		<-closing
		return false
	})
	uploads.Delete("job_1")
	<-began
	uploads.Sweep(func(string) bool { return true }, epoch)
	<-began
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, server); len(left) > 0 {
		t.Errorf("after Close the bucket has %v", left)
	}
}
