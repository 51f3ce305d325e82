package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// refusing is a server before a daemon: it answers the first upload of each photo in
// another way, and then passes it on.
func refusing(t *testing.T, daemon string, refuse map[string]http.HandlerFunc) (address string) {
	t.Helper()
	target, err := url.Parse(daemon)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		name := r.URL.Query().Get("filename")
		first := refuse[name]
		delete(refuse, name)
		mu.Unlock()
		if first != nil {
			first(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func problem(status int, code fault.Code, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"detail":%q}`, code, detail)
	}
}

// A daemon that refuses for now, and a network that fails, cost an upload only time.
func TestUploadWaitsWhenItIsRefusedForNow(t *testing.T) {
	in := smallPhotos(t, 5)
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	address := refusing(t, serve(t, t.TempDir(), "ladder.widths=32").url, map[string]http.HandlerFunc{
		"0000.jpg": problem(http.StatusTooManyRequests, fault.QueueFull, "The queue is full."),
		"0001.jpg": problem(http.StatusServiceUnavailable, fault.ShuttingDown, "The server is stopping."),
		"0002.jpg": problem(http.StatusInsufficientStorage, fault.InsufficientStorage, "The disk is full."),
		"0003.jpg": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, // of a tunnel
		"0004.jpg": cut,
	})
	stdout, stderr, status := run(t, "upload", in, "--to", address, "-j", "1", "--journal", filepath.Join(t.TempDir(), "j"))
	if counts, images := statuses(t, stdout); status != 0 || counts["made"] != 5 || len(images) != 5 {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	for _, why := range []string{"The queue is full.", "The server is stopping.", "The disk is full.", "answered 502", "cannot be reached"} {
		if !strings.Contains(stderr, why) {
			t.Errorf("it does not say why it waits: no %q in\n%s", why, stderr)
		}
	}
}
