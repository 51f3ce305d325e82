package s3_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// fake opens the bucket of a server that answers with handler.
func fake(t *testing.T, handler http.HandlerFunc) *s3.Bucket {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return open(t, server.URL, s3test.Key())
}

func open(t *testing.T, url string, key s3.Key) *s3.Bucket {
	t.Helper()
	b, err := s3.Open(s3test.Config(url), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.SetFirstWait(time.Millisecond)
	t.Cleanup(b.Close)
	return b
}

func TestFailuresHaveTheirClassAndAdvice(t *testing.T) {
	for _, c := range []struct {
		status   int
		code     string
		class    s3.Class
		attempts int64
		advice   string
	}{
		{http.StatusForbidden, "RequestTimeTooSkewed", s3.BadClock, 1, "timedatectl"},
		{http.StatusForbidden, "InvalidAccessKeyId", s3.BadKey, 1, "storage.s3.key_file"},
		{http.StatusForbidden, "SignatureDoesNotMatch", s3.BadKey, 1, "storage.s3.key_file"},
		{http.StatusUnauthorized, "", s3.BadKey, 1, "storage.s3.key_file"},
		{http.StatusForbidden, "AccessDenied", s3.Denied, 1, "read, write, list and delete"},
		{http.StatusNotFound, "NoSuchBucket", s3.NoBucket, 1, "storage.s3.bucket"},
		{http.StatusNotFound, "NoSuchKey", s3.NotFound, 1, "no such object"},
		{http.StatusInsufficientStorage, "", s3.Full, 1, "no space left"},
		{http.StatusBadRequest, "InvalidRequest", s3.Refused, 1, "InvalidRequest"},
		{http.StatusNotImplemented, "NotImplemented", s3.Refused, 1, "NotImplemented"},
		{http.StatusMovedPermanently, "PermanentRedirect", s3.Refused, 1, "PermanentRedirect"},
		{http.StatusServiceUnavailable, "SlowDown", s3.Unavailable, 4, "overloaded"},
		{http.StatusTooManyRequests, "", s3.Unavailable, 4, "overloaded"},
		{http.StatusInternalServerError, "InternalError", s3.Unavailable, 4, "overloaded"},
		{http.StatusConflict, "ConditionalRequestConflict", s3.Unavailable, 4, "overloaded"},
	} {
		t.Run(c.code+http.StatusText(c.status), func(t *testing.T) {
			var attempts atomic.Int64
			b := fake(t, func(w http.ResponseWriter, r *http.Request) {
				attempts.Add(1)
				if c.code == "" {
					w.WriteHeader(c.status)
					return
				}
				s3test.Refuse(w, c.status, c.code)
			})
			_, _, err := b.Get(t.Context(), "a/320.webp", 0, -1)
			if !s3.Is(err, c.class) || attempts.Load() != c.attempts {
				t.Fatalf("got %v after %d attempts", err, attempts.Load())
			}
			if !strings.Contains(err.Error(), c.advice) || !strings.Contains(err.Error(), "get a/320.webp") {
				t.Errorf("%q does not say %q", err, c.advice)
			}
		})
	}
}

func TestTemporaryFailureIsRetriedWithTheSameBody(t *testing.T) {
	var bodies []string
	b := fake(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		switch len(bodies) {
		case 1:
			s3test.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		case 2:
			s3test.HangUp()
		}
	})
	_, created, err := b.PutNew(t.Context(), object("a", "content"), strings.NewReader("content"))
	if err != nil || !created {
		t.Fatal(created, err)
	}
	for _, body := range bodies {
		if body != "content" {
			t.Errorf("the server got %q", bodies)
		}
	}
	if len(bodies) != 3 {
		t.Errorf("%d attempts", len(bodies))
	}
}

func TestStoreSaysWhenToTryAgain(t *testing.T) {
	var asked []time.Time
	b := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		asked = append(asked, time.Now())
		if len(asked) == 1 {
			w.Header().Set("Retry-After", "1")
			s3test.Refuse(w, http.StatusTooManyRequests, "SlowDown")
		}
	})
	if _, err := b.Head(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 2 || asked[1].Sub(asked[0]) < time.Second { // by itself it waits for a millisecond
		t.Errorf("it was asked at %v", asked)
	}
}

func TestUnreachableStoreIsUnavailable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close()
	_, err := open(t, url, s3test.Key()).Head(t.Context(), "a")
	if !s3.Is(err, s3.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func TestBodyThatIsCutShortIsAnError(t *testing.T) {
	b := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("half"))
		w.(http.Flusher).Flush()
		s3test.HangUp()
	})
	body, _, err := b.Get(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestBodyThatStopsArrivingIsAnError(t *testing.T) {
	b := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("half"))
		w.(http.Flusher).Flush()
		<-r.Context().Done() // the connection stays open until the client closes it
	})
	b.SetStallTime(10 * time.Millisecond)
	body, _, err := b.Get(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestStoreThatIgnoresTheConditionIsRefused(t *testing.T) {
	objects := make(map[string]string)
	b := fake(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut:
			body, _ := io.ReadAll(r.Body)
			objects[r.URL.Path] = string(body) // whatever If-None-Match says
		case http.MethodDelete:
			delete(objects, r.URL.Path)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	err := b.Probe(t.Context(), false)
	if !s3.Is(err, s3.Unsupported) || !strings.Contains(err.Error(), "If-None-Match: *") {
		t.Errorf("got %v", err)
	}
	if len(objects) != 0 {
		t.Errorf("the probe left %v", objects)
	}
}

func TestKeyHidesItsSecret(t *testing.T) {
	if got := s3.NewKey("id", "precious").String(); strings.Contains(got, "precious") {
		t.Errorf("got %s", got)
	}
}
