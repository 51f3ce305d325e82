package egress_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/egress"
)

// serve starts a server at home, and returns its URL.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

var home = egress.Rules{AllowPrivate: true}

func TestRequestRevealsNoMoreThanItMust(t *testing.T) {
	var header http.Header
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes"})
		if r.URL.Path != "/end" {
			http.Redirect(w, r, "/end", http.StatusFound)
			return
		}
		header = r.Header
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "as it is")
	})
	response, err := egress.NewClient(home, 5).Get(at + "/start?key=secret")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "as it is" {
		t.Errorf("got %q, %v", body, err)
	}
	want := http.Header{
		"User-Agent":      {"optimizerd/" + buildinfo.Version() + " (+https://github.com/optimizerd/optimizerd)"},
		"Accept-Encoding": {"identity"},
	}
	for key := range header {
		if header.Get(key) != want.Get(key) {
			t.Errorf("sent %s: %q", key, header.Get(key))
		}
	}
	if len(header) != len(want) {
		t.Errorf("sent %v", header)
	}
}

func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	port, reached := victim(t)
	t.Setenv("HTTP_PROXY", (&url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", port)}).String())
	res, _ := resolver(t, leads)
	at := serve(t, func(http.ResponseWriter, *http.Request) {})
	rules := egress.Rules{AllowPrivate: true, Resolver: res}
	// A name, for no proxy is ever asked for loopback addresses.
	if err := get(t, egress.NewClient(rules, 0), strings.Replace(at, "127.0.0.1", "loop.example", 1), false); err != nil {
		t.Error(err)
	}
	if reached.Load() != 0 {
		t.Error("the proxy of the environment was asked")
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if rest, more := strings.CutPrefix(r.URL.Path, "/x"); more {
			http.Redirect(w, r, "/"+rest, http.StatusTemporaryRedirect)
		}
	})
	client := egress.NewClient(home, 5)
	if err := get(t, client, at+"/xxxxx", false); err != nil {
		t.Errorf("five: %v", err)
	}
	if err := get(t, client, at+"/xxxxxx", false); !errors.Is(err, egress.ErrRedirects) {
		t.Errorf("six: got %v", err)
	}
}

func TestRedirectsAreAnswersIfTheyAreNotFollowed(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	response, err := egress.NewClient(home, 0).Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusFound {
		t.Errorf("got %s", response.Status)
	}
}

func TestBrokenLocationIsNone(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://[::1/?key=secret")
		w.WriteHeader(http.StatusFound)
	})
	response, err := egress.NewClient(home, 5).Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusFound {
		t.Errorf("got %s", response.Status)
	}
}

func TestHeaderHasAnEnd(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 100<<10))
	})
	if err := get(t, egress.NewClient(home, 5), at, false); err == nil {
		t.Error("100 KiB of header were taken")
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "1.5": 0, "99999999999999999999": 0, "soon": 0,
		"Fri, 02 Jan 2026 03:04:14 GMT": 9 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := egress.RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
