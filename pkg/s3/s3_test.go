//go:build versitygw

package s3_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

func put(t *testing.T, b *s3.Bucket, key, content string) {
	t.Helper()
	if _, created, err := b.PutNew(t.Context(), object(key, content), strings.NewReader(content)); err != nil || !created {
		t.Fatalf("put %s: %v, %v", key, created, err)
	}
}

func TestObjectIsWrittenOnce(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	put(t, b, "a/320.webp", "first")
	_, created, err := b.PutNew(t.Context(), object("a/320.webp", "second!"), strings.NewReader("second!"))
	if err != nil || created {
		t.Fatalf("the second put: %v, %v", created, err)
	}
	o, err := b.Head(t.Context(), "a/320.webp")
	want := object("a/320.webp", "first")
	o.Modified, o.ETag = time.Time{}, ""
	if err != nil || o != want {
		t.Errorf("got %+v, %v, want %+v", o, err, want)
	}
}

func TestKeyThatIsTakenWithNothingUnderItIsWritten(t *testing.T) {
	server := s3test.Start(t)
	b := open(t, server.URL, s3test.Key())
	server.TakeKey("a")
	if _, err := b.Head(t.Context(), "a"); !s3.Is(err, s3.NotFound) {
		t.Fatalf("got %v, want no object", err)
	}
	put(t, b, "a", "first")
	if o, err := b.Head(t.Context(), "a"); err != nil || o.SHA256 != object("a", "first").SHA256 {
		t.Errorf("got %+v, %v", o, err)
	}
	if _, created, err := b.PutNew(t.Context(), object("a", "second!"), strings.NewReader("second!")); err != nil || created {
		t.Errorf("the second put: %v, %v", created, err)
	}
}

func TestWritersAtOnceHaveOneWinner(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	for i := range 25 {
		var won atomic.Int64
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				content := fmt.Sprint("writer ", w)
				_, created, err := b.PutNew(t.Context(), object(fmt.Sprint(i), content), strings.NewReader(content))
				if err != nil {
					t.Error(err)
				}
				if created {
					won.Add(1)
				}
			})
		}
		writers.Wait()
		if won.Load() != 1 {
			t.Errorf("object %d was written %d times", i, won.Load())
		}
	}
}

func TestRangesOfAnObject(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	content := strings.Repeat("0123456789", 1000)
	put(t, b, "a", content)
	for _, c := range []struct{ offset, n int64 }{{0, -1}, {0, 1}, {5, 10}, {9990, 10}, {9999, -1}, {1, -1}} {
		body, _, err := b.Get(t.Context(), "a", c.offset, c.n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		body.Close()
		want := content[c.offset:]
		if c.n >= 0 {
			want = want[:c.n]
		}
		if err != nil || string(got) != want {
			t.Errorf("%+v: got %d bytes, %v, want %d", c, len(got), err, len(want))
		}
	}
	if _, _, err := b.Get(t.Context(), "b", 0, -1); !s3.Is(err, s3.NotFound) {
		t.Errorf("an unknown object: %v", err)
	}
}

func TestListHasAllPages(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	const n = 1100 // more than a page
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := w; i < n; i += 8 {
				put(t, b, fmt.Sprintf("a/%04d", i), "x")
			}
		})
	}
	put(t, b, "b/1", "x")
	writers.Wait()
	var keys []string
	for o, err := range b.List(t.Context(), "a/") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	if len(keys) != n || keys[0] != "a/0000" || keys[n-1] != fmt.Sprintf("a/%04d", n-1) {
		t.Errorf("got %d keys", len(keys))
	}
}

func TestCopyAndDelete(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	put(t, b, "originals/a b+c", "content")
	if err := b.Copy(t.Context(), "originals/a b+c", "originals/d"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is gone already
		if err := b.Delete(t.Context(), "originals/a b+c"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Head(t.Context(), "originals/a b+c"); !s3.Is(err, s3.NotFound) {
		t.Errorf("the deleted object: %v", err)
	}
	if o, err := b.Head(t.Context(), "originals/d"); err != nil || o.Bytes != 7 || o.SHA256 != object("", "content").SHA256 {
		t.Errorf("the copy: %+v, %v", o, err)
	}
	if err := b.Copy(t.Context(), "nothing", "e"); !s3.Is(err, s3.NotFound) {
		t.Errorf("a copy of nothing: %v", err)
	}
}

func TestServerChecksTheDigest(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	o := object("a", "content")
	if _, _, err := b.PutNew(t.Context(), o, strings.NewReader("CONTENT")); err == nil {
		t.Error("other bytes than announced were stored")
	}
	if _, err := b.Head(t.Context(), "a"); !s3.Is(err, s3.NotFound) {
		t.Errorf("got %v", err)
	}
}

func TestProbeAcceptsARealStoreAndLeavesNothing(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	if err := b.Probe(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for o, err := range b.List(t.Context(), "") {
		t.Errorf("left %s, %v", o.Key, err)
	}
}

func TestProbeSaysWhatIsWrong(t *testing.T) {
	server := s3test.Start(t)
	config := s3test.Config(server.URL)
	config.Bucket = "elsewhere"
	noBucket, err := s3.Open(config, s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	late := open(t, server.URL, s3test.Key())
	late.SetClock(func() time.Time { return time.Now().Add(-time.Hour) })
	for name, c := range map[string]struct {
		bucket *s3.Bucket
		class  s3.Class
	}{
		"bucket": {noBucket, s3.NoBucket},
		"key":    {open(t, server.URL, s3.NewKey("nobody", "secret")), s3.BadKey},
		"secret": {open(t, server.URL, s3.NewKey("test", "wrong")), s3.BadKey},
		"clock":  {late, s3.BadClock},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.bucket.Probe(t.Context(), false); !s3.Is(err, c.class) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestStoreWithoutCopiesIsRefusedIfOriginalsAreKept(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	proxy.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		copies := r.Header.Get("X-Amz-Copy-Source") != ""
		if copies {
			s3test.Refuse(w, http.StatusNotImplemented, "NotImplemented")
		}
		return copies
	})
	b := open(t, proxy.URL, s3test.Key())
	if err := b.Probe(t.Context(), false); err != nil {
		t.Errorf("without originals: %v", err)
	}
	if err := b.Probe(t.Context(), true); !s3.Is(err, s3.Unsupported) || !strings.Contains(err.Error(), "storage.keep_originals: this store does not copy objects") {
		t.Errorf("with originals: %v", err)
	}
	for o, err := range b.List(t.Context(), "") {
		t.Errorf("left %s, %v", o.Key, err)
	}
}

func TestLargeObject(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	sum := sha256.Sum256(content)
	o := s3.Object{Key: "a", Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	if _, _, err := b.PutNew(t.Context(), o, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	body, _, err := b.Get(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	n, err := io.Copy(hash, body)
	if err = errors.Join(err, body.Close()); err != nil || n != o.Bytes || hex.EncodeToString(hash.Sum(nil)) != o.SHA256 {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

func TestListHasTheKeysThatWerePut(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	const key = "a b/ü+%20&<(1)>~🙂"
	put(t, b, key, "content")
	n := 0
	for o, err := range b.List(t.Context(), "a b/") {
		if n++; err != nil || o.Key != key {
			t.Errorf("got %q, %v, want %q", o.Key, err, key)
		}
	}
	if n != 1 {
		t.Errorf("got %d keys", n)
	}
	if _, err := b.Head(t.Context(), key); err != nil {
		t.Error(err)
	}
}

func TestReplaceNeedsTheVersionThatIsThere(t *testing.T) {
	b := open(t, s3test.Start(t).URL, s3test.Key())
	replace := func(content, etag string) error {
		return b.Replace(t.Context(), object("a", content), strings.NewReader(content), etag)
	}
	if err := replace("new", `"0123456789abcdef0123456789abcdef"`); !s3.Is(err, s3.NotFound) {
		t.Errorf("without an object: %v", err)
	}
	put(t, b, "a", "first")
	first, err := b.Head(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := replace("second", first.ETag); err != nil {
		t.Fatal(err)
	}
	if err := replace("third", first.ETag); !s3.Is(err, s3.Exists) {
		t.Errorf("of another version: %v", err)
	}
	if o, err := b.Head(t.Context(), "a"); err != nil || o.SHA256 != object("a", "second").SHA256 {
		t.Errorf("got %+v, %v", o, err)
	}
}
