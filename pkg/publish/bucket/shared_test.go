//go:build versitygw

package bucket_test

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// shared is an index of several nodes, in memory.
type shared struct {
	mu      sync.Mutex
	entries map[string]bucket.Entry
	at      map[string]bucket.Revision
	dropped []func(id string) // of each node

	committed func() // called once, after a Commit
}

func (x *shared) Close() error              { return nil }
func (x *shared) Marked() ([]string, error) { return nil, nil }

func (x *shared) Load(_ func(string, time.Time), dropped func(string)) error {
	x.dropped = append(x.dropped, dropped)
	return nil
}

func (x *shared) Look(id string) (bucket.Entry, bucket.Revision, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.entries[id], x.at[id], nil
}

func (x *shared) change(id string, e bucket.Entry, at bucket.Revision) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.at[id] != at {
		return bucket.ErrChanged
	}
	x.entries[id] = e
	x.at[id]++
	return nil
}

func (x *shared) Commit(m manifest.Manifest, original int64, at bucket.Revision) error {
	err := x.change(m.ID, bucket.Entry{Published: true, Original: original}, at)
	if f := x.committed; f != nil && err == nil {
		x.committed = nil
		f()
	}
	return err
}

func (x *shared) Mark(id string, at bucket.Revision) error {
	return x.change(id, bucket.Entry{Deleting: true, Since: time.Now()}, at)
}

func (x *shared) Unmark(id string, at bucket.Revision) error { return x.change(id, bucket.Entry{}, at) }

func (x *shared) Remove(id string, at bucket.Revision) error { return x.change(id, bucket.Entry{}, at) }

// openShared opens a node of a fleet with this index.
func openShared(t *testing.T, url string, index *shared) node {
	t.Helper()
	objects, err := s3.Open(s3test.Config(url), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	staging, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 1 << 20, MinFree: 1, Memory: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open(bucket.Config{Index: index, KeepOriginals: true}, objects, staging, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // it may be closed already
	return node{s, staging, dir}
}

// A photo that was deleted is gone, also its original, which has the location.
func TestOriginalThatIsKeptWhileAnotherNodeDeletesTheSetIsDeleted(t *testing.T) {
	server := s3test.Start(t)
	index := &shared{entries: make(map[string]bucket.Entry), at: make(map[string]bucket.Revision)}
	proxy := s3test.NewProxy(t, server)
	mine, theirs := openShared(t, proxy.URL, index), openShared(t, server.URL, index)
	content := "GIF89a-original"
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	mine.mustPublish(t, content)
	proxy.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			if err := theirs.Delete(id(content)); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	mine.KeepOriginal(id(content), path) // the same upload again
	if err := mine.Close(); err != nil { // which ends what it has begun
		t.Fatal(err)
	}
	if left := keys(t, server); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if e := index.entries[id(content)]; e.Deleting || e.Published {
		t.Errorf("the entry is %+v", e)
	}
}

// An upload of an image that only seems to be there is answered with its manifest, and
// its source dropped.
func TestSetThatAnotherNodeDeletesWhileItIsAddedIsNotThere(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	index := &shared{entries: make(map[string]bucket.Entry), at: make(map[string]bucket.Revision)}
	mine, theirs := openShared(t, proxy.URL, index), openShared(t, server.URL, index)
	deleted := func() {
		if err := theirs.Delete(id("cat")); err != nil {
			t.Error(err)
		}
		for _, dropped := range index.dropped {
			dropped(id("cat")) // the news of the deletion
		}
	}
	index.committed = deleted
	mine.mustPublish(t, "cat")
	if _, err := mine.Get(id("cat")); mine.Has(id("cat")) || fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a set that is committed: %v", err)
	}
	theirs.mustPublish(t, "cat")
	proxy.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		b, err := os.ReadFile(filepath.Join(server.Dir, s3test.BucketName, id("cat"), manifest.FileName))
		if err != nil {
			t.Error(err)
		}
		proxy.Intercept(nil)
		deleted()
		_, _ = w.Write(b)
		return true
	})
	if _, err := mine.Get(id("cat")); err != nil || mine.Has(id("cat")) {
		t.Errorf("a set that is read: there: %v, %v", mine.Has(id("cat")), err)
	}
}
