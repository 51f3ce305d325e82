//go:build versitygw

package bucket_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// breakOff answers a request with the first byte of its object.
func breakOff(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || r.URL.Query().Has("list-type") {
		return false
	}
	w.Header().Set("Content-Length", "1000000")
	if r.Header.Get("Range") != "" {
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write([]byte("{"))
	w.(http.Flusher).Flush()
	s3test.HangUp()
	return true
}

// A bad connection is no fault of an image: what needs the store then is tried again,
// and nothing counts as lost.
func TestBodiesThatBreakOffAgainAndAgainAreATemporaryFailure(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server)
	n := open(t, proxy.URL, t.TempDir())
	content := "GIF89a-" + strings.Repeat("original", 100)
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	m := n.mustPublish(t, content)
	n.KeepOriginal(m.ID, path)
	other := open(t, proxy.URL, t.TempDir()) // its index lacks the set

	proxy.Intercept(breakOff)
	for what, do := range map[string]func() error{
		"copying an original": func() error { return n.CopyOriginal(t.Context(), m, n.spool) },
		"making a set that is there": func() error {
			_, err := other.publish(t, content, "")
			return err
		},
		"rebuilding the index": func() error {
			_, err := n.Rebuild(t.Context(), func(int) {})
			return err
		},
		"looking for orphans": func() error {
			_, err := other.Orphans(t.Context(), time.Now().Add(time.Hour), func(bucket.Orphan) bool { return true })
			return err
		},
	} {
		if err := do(); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("%s: got %v, want that the store is out of reach", what, err)
		}
	}
	proxy.Intercept(nil)
	if !n.Has(m.ID) {
		t.Error("the set is gone from the index")
	}
	n.checkWhole(t, m.ID)
}

// awayIndex is that of a fleet whose servers cannot be reached.
type awayIndex struct {
	bucket.Index
	away bool
}

func (x *awayIndex) Load(func(string, time.Time), func(string)) error { return nil }
func (x *awayIndex) Close() error                                     { return nil }

func (x *awayIndex) Look(string) (bucket.Entry, bucket.Revision, error) {
	if x.away {
		return bucket.Entry{}, 0, fault.Wrap(fault.Unavailable, os.ErrDeadlineExceeded, "away")
	}
	return bucket.Entry{}, 0, nil
}

// A job whose image is reported missing fails for good, and a webhook
// would lack what was made.
func TestImageThatCannotBeLookedUpIsNotMissing(t *testing.T) {
	objects, err := s3.Open(s3test.Config(s3test.Start(t).URL), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	index := new(awayIndex)
	s, err := bucket.Open(bucket.Config{Index: index}, objects, nil, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // nothing was written
	known := id("cat")
	s.AddID(known, time.Now())
	for _, index.away = range []bool{false, true} {
		want := fault.NotFound
		if index.away {
			want = fault.Unavailable
		}
		for _, image := range []string{id("cow"), known} {
			if _, err := s.Original(image); fault.CodeOf(err) != want {
				t.Errorf("away %v: original: got %v, want %s", index.away, err, want)
			}
			s.AddID(known, time.Now()) // it was dropped, if it was missing
		}
		if _, err := s.Get(id("cow")); fault.CodeOf(err) != want {
			t.Errorf("away %v: set: got %v, want %s", index.away, err, want)
		}
	}
}

// A node of a fleet serves what it knows of while NATS cannot be reached.
func TestSetsAreServedWithoutTheIndexOfTheFleet(t *testing.T) {
	server := s3test.Start(t)
	n := open(t, server.URL, t.TempDir())
	known, other := n.mustPublish(t, "cat"), n.mustPublish(t, "dog")
	objects, err := s3.Open(s3test.Config(server.URL), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open(bucket.Config{Index: &awayIndex{away: true}}, objects, n.spool, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // nothing was written
	s.AddID(known.ID, known.CreatedAt.Time)
	node{Store: s}.checkWhole(t, known.ID)
	if page, _, err := s.List(10, ""); err != nil || len(page) != 1 || page[0].ID != known.ID {
		t.Errorf("the listing is %v, %v", page, err)
	}
	if _, err := s.Get(other.ID); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("a set that another node may have published: %v", err)
	}
}
