package fetch_test

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fetch"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// atHome returns a configuration that allows the servers of these tests.
func atHome() fetch.Config {
	config := fetch.DefaultConfig()
	config.AllowPrivate = true
	return config
}

// gif is a minimal image.
const gif = "GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

func open(t *testing.T) (*spool.Spool, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := spool.Open(spool.Config{Dir: dir, MaxBytes: 1 << 20, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func fetcher(t *testing.T, config fetch.Config) (f *fetch.Fetcher, dir string) {
	t.Helper()
	s, dir := open(t)
	f = fetch.New(config, s)
	f.Hasten()
	t.Cleanup(f.Close)
	return f, dir
}

// origin starts a server that answers with the handler; n counts requests from 1.
func origin(t *testing.T, handler func(n int, w http.ResponseWriter, r *http.Request)) (at string, requests *atomic.Int32) {
	t.Helper()
	requests = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler(int(requests.Add(1)), w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func sendGIF(w io.Writer) { _, _ = io.WriteString(w, gif) }

// wantFault checks the code, that the detail reveals no secret, and that nothing is
// left in the spool.
func wantFault(t *testing.T, err error, code fault.Code, dir string) *fault.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", code)
	}
	f := fault.From(err)
	if f.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
	for _, secret := range []string{"127.0.0.1", "secret", dir, "dial", "Get"} {
		if strings.Contains(f.Detail, secret) {
			t.Errorf("the public detail %q contains %q", f.Detail, secret)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the log gets the query: %v", err)
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	return f
}

func TestFetchSpoolsWhatIsThere(t *testing.T) {
	for path, name := range map[string]string{
		"/cat.gif":                        "cat.gif",
		"/a/b/cat%20of%20mine.gif?secret": "cat of mine.gif",
		"/a/..%2f..%2fpasswd":             "passwd",
		"/a/%5cWINDOWS%5ccat.gif":         "cat.gif",
		"/%00%0a%e2%80%aecat.gif":         "cat.gif",
		"/%ff%c3%a4.gif":                  "ä.gif",
		"/":                               "",
		"":                                "",
		"/redirected.gif":                 "redirected.gif",
	} {
		t.Run(path, func(t *testing.T) {
			f, _ := fetcher(t, atHome())
			at, _ := origin(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/redirected.gif" {
					http.Redirect(w, r, "/other", http.StatusSeeOther)
					return
				}
				w.Header().Set("Content-Type", "text/html; charset=lies")
				sendGIF(w)
			})
			u, err := f.Fetch(t.Context(), at+path)
			if err != nil {
				t.Fatal(err)
			}
			defer u.Discard()
			if u.SHA256 != sha256.Sum256([]byte(gif)) || u.Filename != name {
				t.Errorf("got %x, name %q, want %q", u.SHA256, u.Filename, name)
			}
		})
	}
}

// Some origins compress even if the request excludes it.
func TestFetchUndoesGzip(t *testing.T) {
	f, _ := fetcher(t, atHome())
	at, _ := origin(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding is %q, want identity", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		sendGIF(z)
		_ = z.Close()
	})
	u, err := f.Fetch(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Discard()
	if u.SHA256 != sha256.Sum256([]byte(gif)) || u.Bytes != int64(len(gif)) {
		t.Errorf("got %d bytes with the digest %x, want those of the image", u.Bytes, u.SHA256)
	}
}

func TestFetchSendsWhatItTakes(t *testing.T) {
	f, _ := fetcher(t, atHome())
	at, _ := origin(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept"); !strings.HasPrefix(got, "image/jpeg,") {
			t.Errorf("Accept: %s", got)
		}
		sendGIF(w)
	})
	u, err := f.Fetch(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	u.Discard()
}

// The client that named the URL sends no image itself, which the fault of an upload asks for.
func TestFaultOfAnswerThatIsNoImageIsAboutTheURL(t *testing.T) {
	f, _ := fetcher(t, atHome())
	at, _ := origin(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<!doctype html><title>secret</title>")
	})
	_, err := f.Fetch(t.Context(), at)
	const want = "The origin did not send a JPEG, PNG, WebP, GIF, HEIC, AVIF or TIFF image; check that the URL leads to the image itself and not to a web page."
	if got := fault.From(err); got == nil || got.Detail != want || got.Code != fault.UnsupportedFormat {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestAnswersThatAreNoImageEndTheFetch(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, tc := range map[string]struct {
		answer   func(http.ResponseWriter, *http.Request)
		want     fault.Code
		requests int32
	}{
		"404":       {status(404), fault.InputNotFound, 1},
		"410":       {status(410), fault.InputNotFound, 1},
		"400":       {status(400), fault.InputRefused, 1},
		"401":       {status(401), fault.InputRefused, 1},
		"403":       {status(403), fault.InputRefused, 1},
		"451":       {status(451), fault.InputRefused, 1},
		"999":       {status(999), fault.InputRefused, 1},
		"201":       {status(201), fault.InputRefused, 1},
		"204":       {status(204), fault.InputRefused, 1},
		"206":       {status(206), fault.InputRefused, 1},
		"304":       {status(304), fault.InputRefused, 1},
		"300":       {status(300), fault.InputRefused, 1},
		"302":       {status(302), fault.InputRefused, 1},
		"308":       {status(308), fault.InputRefused, 1},
		"408":       {status(408), fault.InputUnavailable, 3},
		"425":       {status(425), fault.InputUnavailable, 3},
		"429":       {status(429), fault.InputUnavailable, 3},
		"500":       {status(500), fault.InputUnavailable, 3},
		"503":       {status(503), fault.InputUnavailable, 3},
		"522":       {status(522), fault.InputUnavailable, 3},
		"200 empty": {status(200), fault.InputRefused, 1},
		"200 empty, in chunks": {func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
		}, fault.InputRefused, 1},
		"html": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "image/jpeg")
			_, _ = io.WriteString(w, "<!doctype html><title>secret</title>")
		}, fault.UnsupportedFormat, 1},
		"svg": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `<svg xmlns="http://www.w3.org/2000/svg"/>`)
		}, fault.UnsupportedFormat, 1},
		"gzip that is cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00")
		}, fault.InputRefused, 1},
		"no gzip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			sendGIF(w)
		}, fault.InputRefused, 1},
		"gzip that grows too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			sendGIF(z)
			_, _ = z.Write(make([]byte, 1<<20))
			_ = z.Close()
		}, fault.TooLarge, 1},
		"another coding": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			sendGIF(w)
		}, fault.InputRefused, 1},
		"too large by its header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1048577")
			sendGIF(w)
		}, fault.TooLarge, 1},
		"too large by its bytes": {func(w http.ResponseWriter, _ *http.Request) {
			sendGIF(w)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(make([]byte, 1<<20))
		}, fault.TooLarge, 1},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			sendGIF(w)
		}, fault.InputUnavailable, 3},
		"cut short in a chunk": {func(w http.ResponseWriter, _ *http.Request) {
			sendGIF(w)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, fault.InputUnavailable, 3},
		"hung up": {func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, fault.InputUnavailable, 3},
		"to a file": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "file:///etc/secret")
			w.WriteHeader(302)
		}, fault.InputForbidden, 1},
		"to no URL": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://[::1/?secret")
			w.WriteHeader(302)
		}, fault.InputRefused, 1},
		"in a circle": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/?secret", http.StatusFound)
		}, fault.InputRefused, 6},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := fetcher(t, atHome())
			at, requests := origin(t, func(_ int, w http.ResponseWriter, r *http.Request) { tc.answer(w, r) })
			_, err := f.Fetch(t.Context(), at+"/a.gif?key=secret")
			got := wantFault(t, err, tc.want, dir)
			if len(name) == 3 && name[0] < 'a' && !strings.Contains(got.Detail, name) {
				t.Errorf("the sentence does not tell the status: %s", got.Detail)
			}
			if n := requests.Load(); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}

func TestFiveRedirectsAreFollowed(t *testing.T) {
	for n, want := range map[int]fault.Code{5: "", 6: fault.InputRefused} {
		f, dir := fetcher(t, atHome())
		at, _ := origin(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if rest, more := strings.CutPrefix(r.URL.Path, "/x"); more {
				http.Redirect(w, r, "/"+rest, http.StatusMovedPermanently)
				return
			}
			sendGIF(w)
		})
		u, err := f.Fetch(t.Context(), at+"/"+strings.Repeat("x", n))
		if want != "" {
			_ = wantFault(t, err, want, dir)
			continue
		}
		if err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		u.Discard()
	}
}

func TestFailuresThatMayPassAreRetried(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"500": func(w http.ResponseWriter) { w.WriteHeader(500) },
		"cut short": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "5000")
			sendGIF(w)
		},
		"hung up": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		// Both are ignored: the first is too long, the second not a time.
		"in an hour": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(503)
		},
		"some day": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "some day")
			w.WriteHeader(503)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := fetcher(t, atHome())
			at, requests := origin(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n < 3 {
					fail(w)
					return
				}
				sendGIF(w)
			})
			u, err := f.Fetch(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			defer u.Discard()
			if u.SHA256 != sha256.Sum256([]byte(gif)) || requests.Load() != 3 {
				t.Errorf("got %x after %d requests", u.SHA256, requests.Load())
			}
		})
	}
}

// pipes is an in-memory network that works in a synctest bubble.
type pipes chan net.Conn

func (p pipes) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { close(p); return nil }

func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// bubble runs a test of a fetcher and an origin in a synctest bubble.
func bubble(t *testing.T, config fetch.Config, handler func(n int, w http.ResponseWriter, r *http.Request), test func(t *testing.T, f *fetch.Fetcher, dir string, requests *atomic.Int32)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		requests, network := new(atomic.Int32), make(pipes)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler(int(requests.Add(1)), w, r)
		})}
		go func() { _ = server.Serve(network) }() // until it is closed
		defer server.Close()
		f, dir := fetcher(t, config)
		way := &http.Transport{DialContext: network.DialContext}
		defer way.CloseIdleConnections()
		f.Through(way)
		test(t, f, dir, requests)
	})
}

func TestOriginSaysWhenToComeBack(t *testing.T) {
	bubble(t, atHome(), func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
			return
		}
		sendGIF(w)
	}, func(t *testing.T, f *fetch.Fetcher, _ string, _ *atomic.Int32) {
		start := time.Now()
		u, err := f.Fetch(t.Context(), "http://origin.example/")
		if err != nil {
			t.Fatal(err)
		}
		u.Discard()
		if took := time.Since(start); took != 7*time.Second {
			t.Errorf("returned after %v", took)
		}
	})
}

func TestSlowOriginIsGivenUp(t *testing.T) {
	for name, begin := range map[string]func(http.ResponseWriter){
		"before the header": func(http.ResponseWriter) {},
		"within the body": func(w http.ResponseWriter) {
			sendGIF(w)
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, atHome(), func(_ int, w http.ResponseWriter, r *http.Request) {
				begin(w)
				<-r.Context().Done()
			}, func(t *testing.T, f *fetch.Fetcher, dir string, requests *atomic.Int32) {
				_, err := f.Fetch(t.Context(), "http://origin.example/")
				if got := wantFault(t, err, fault.InputUnavailable, dir); got.Detail != "The origin timed out." {
					t.Errorf("it says %q", got.Detail)
				}
				if n := requests.Load(); n != 3 {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

func TestOriginThatIsNotReached(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain, _ := origin(t, func(int, http.ResponseWriter, *http.Request) {})
	for rawURL, want := range map[string]string{
		"http://" + closed.Addr().String():          "The origin could not be reached.",
		secure.URL:                                  "The certificate of the origin is not valid.",
		"https" + strings.TrimPrefix(plain, "http"): "The origin could not be reached.",
		"http://nowhere.example/":                   "The host name of the origin could not be resolved.",
	} {
		f, dir := fetcher(t, atHome())
		f.Resolve(&net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no name server")
		}})
		_, err := f.Fetch(t.Context(), rawURL+"?key=secret")
		if got := wantFault(t, err, fault.InputUnavailable, dir); got.Detail != want {
			t.Errorf("%s: %v", rawURL, err)
		}
	}
}

func TestRulesForbid(t *testing.T) {
	at, requests := origin(t, func(_ int, w http.ResponseWriter, _ *http.Request) { sendGIF(w) })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(at, "http://"))
	strict := fetch.DefaultConfig()
	plain := strict
	plain.AllowHTTP = true
	some := atHome()
	some.AllowHosts = []string{"img.example.com"}
	for rawURL, config := range map[string]fetch.Config{
		at + "?secret":                       strict,
		"https://127.0.0.1/?secret":          strict,
		"https://192.168.1.1/":               strict,
		"https://localhost/":                 strict,
		"https://[::ffff:127.0.0.1]:" + port: strict,
		"https://user:secret@93.184.216.34/": strict,
		at + "/?secret":                      plain,
		at:                                   some,
		"ftp://93.184.216.34/?secret":        plain,
		"/etc/passwd":                        plain,
		"https://[::1/?secret":               plain,
		"https://exa mple.com/?secret":       plain,
		"":                                   plain,
	} {
		f, dir := fetcher(t, config)
		_, err := f.Fetch(t.Context(), rawURL)
		_ = wantFault(t, err, fault.InputForbidden, dir)
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests got through", n)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	for _, where := range []string{"before", "waiting for the answer", "within the body", "between two tries"} {
		t.Run(where, func(t *testing.T) {
			var cancel context.CancelFunc
			handler := func(_ int, w http.ResponseWriter, r *http.Request) {
				switch where {
				case "waiting for the answer":
					cancel()
					<-r.Context().Done()
				case "within the body":
					sendGIF(w)
					_ = http.NewResponseController(w).Flush()
					cancel()
					<-r.Context().Done()
				default:
					w.Header().Set("Retry-After", "10")
					w.WriteHeader(503)
					context.AfterFunc(r.Context(), cancel)
				}
			}
			bubble(t, atHome(), handler, func(t *testing.T, f *fetch.Fetcher, dir string, requests *atomic.Int32) {
				var ctx context.Context
				ctx, cancel = context.WithCancel(t.Context())
				if where == "before" {
					cancel()
				}
				start := time.Now()
				_, err := f.Fetch(ctx, "http://origin.example/")
				var asFault *fault.Error
				if !errors.Is(err, context.Canceled) || errors.As(err, &asFault) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("ended after %v", took)
				}
				if n := requests.Load(); n > 1 {
					t.Errorf("%d requests", n)
				}
				if left := names(t, dir); len(left) != 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

func TestFullDiskIsSeenBeforeTheDownload(t *testing.T) {
	spool, err := spool.Open(spool.Config{Dir: t.TempDir(), MaxBytes: 1 << 50, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	f := fetch.New(atHome(), spool)
	t.Cleanup(f.Close)
	at, requests := origin(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<49))
	})
	_, err = f.Fetch(t.Context(), at)
	if got := fault.CodeOf(err); got != fault.InsufficientStorage || requests.Load() != 1 {
		t.Errorf("got %v after %d requests", err, requests.Load())
	}
}

func TestFetchConfigNamesTheKey(t *testing.T) {
	if err := fetch.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	good := fetch.DefaultConfig()
	good.AllowHosts = []string{"example.com", "*.Example.com.", "192.168.1.7", "fd00::1", "nas"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*fetch.Config){
		"fetch.timeout":     func(c *fetch.Config) { c.Timeout = time.Millisecond },
		"fetch.concurrency": func(c *fetch.Config) { c.Concurrency = 0 },
		"fetch.ports":       func(c *fetch.Config) { c.Ports = nil },
		"fetch.ports[1]":    func(c *fetch.Config) { c.Ports = []int{443, 65536} },
	} {
		c := fetch.DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: got %v", key, err)
		}
	}
	for _, host := range []string{"", "*", "*.", "*example.com", "a.*.example.com", "https://example.com", "example.com/a", "example.com:443", "a b", "me@example.com"} {
		c := fetch.DefaultConfig()
		c.AllowHosts = []string{"example.com", host}
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "fetch.allow_hosts[1]:") {
			t.Errorf("%q: got %v", host, err)
		}
	}
}
