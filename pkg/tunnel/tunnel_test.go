package tunnel_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/leaktest"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(leaktest.Settle(m, edgetest.Leftover()), edgetest.Leftover())
}

// patience only keeps a failure from hanging.
const patience = 5 * time.Minute

// connector is a running tunnel.
type connector struct {
	*tunnel.Tunnel
	t      *testing.T
	logs   *observer.ObservedLogs
	cancel context.CancelFunc
	ended  chan error
}

// connect runs a tunnel to the edge until the end of the test.
func connect(t *testing.T, e *edgetest.Edge, handler http.HandlerFunc, changes ...func(*tunnel.Config)) *connector {
	t.Helper()
	c := tunnel.DefaultConfig()
	c.Mode, c.TokenFile, c.EdgeAddresses, c.EdgeRoots = tunnel.Embedded, e.TokenFile, e.Addresses, e.RootsFile
	for _, change := range changes {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(c.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tunnel.ParseToken(string(b))
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	tun, err := tunnel.New(c, token, tunnel.Deps{Handler: handler, Version: "1.2.3", Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	k := &connector{Tunnel: tun, t: t, logs: logs, cancel: cancel, ended: make(chan error, 1)}
	go func() { k.ended <- tun.Run(ctx, time.Minute) }()
	t.Cleanup(k.stop)
	return k
}

// stop shuts the tunnel down.
func (k *connector) stop() {
	k.t.Helper()
	k.cancel()
	select {
	case err := <-k.ended:
		if err != nil {
			k.t.Errorf("the tunnel ended with %v", err)
		}
		k.ended <- nil // for the next stop
	case <-time.After(patience):
		k.t.Error("the tunnel does not stop")
	}
}

// says waits until the detail or the error of Check contains this.
func (k *connector) says(text string) {
	k.t.Helper()
	var last string
	for over := time.Now().Add(patience); time.Now().Before(over); time.Sleep(10 * time.Millisecond) {
		detail, err := k.Check()
		if err != nil {
			detail = fault.From(err).Detail
		}
		if last = detail; strings.Contains(detail, text) {
			return
		}
	}
	k.t.Fatalf("Check says %q, want %q in it", last, text)
}

func hello(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello "+r.URL.Path) }

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestTunnelRegistersAsWhatItIsAndAnswersVisitors(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	k := connect(t, e, hello)
	e.AwaitConnections(2)
	for _, r := range e.Registrations() {
		if !strings.HasPrefix(r.Version, "optimizerd/1.2.3 (cloudflared ") {
			t.Errorf("the edge got the version %q", r.Version)
		}
		for _, f := range r.Features {
			if f != "serialized_headers" && f != "allow_remote_config" {
				t.Errorf("the edge got the feature %q, which is not served", f)
			}
		}
	}
	for range 4 { // both connections, twice
		if res, body := get(t, e.URL+"/there"); res.StatusCode != http.StatusOK || body != "hello /there" {
			t.Errorf("a visitor got %s %q", res.Status, body)
		}
	}
	k.says("tst01, tst02")
	k.stop()
	if n := e.Unregistered(); n != 2 {
		t.Errorf("%d of 2 connections were unregistered", n)
	}
}

func TestAnswerArrivesWithItsStatusAndItsHeadersAndNoneOfTheEdgesOwn(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	connect(t, e, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("ETag", `"x"`)
		h.Add("Vary", "Accept")
		h.Add("Vary", "Origin")
		h.Set("Content-Length", "3")
		h.Set("Connection", "close") // over HTTP/2 this would end all other requests
		h.Set("Cf-Cloudflared-Response-Meta", "forged")
		h.Set("Cf-Int-Secret", "x")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "abc")
	})
	e.AwaitConnections(2)
	for range 4 {
		res, body := get(t, e.URL)
		if res.StatusCode != http.StatusTeapot || body != "abc" || res.ContentLength != 3 {
			t.Errorf("got %s, %d bytes, %q", res.Status, res.ContentLength, body)
		}
		if got := res.Header["Vary"]; len(got) != 2 || res.Header.Get("ETag") != `"x"` {
			t.Errorf("got the headers %v", res.Header)
		}
		if res.Header.Get("Cf-Int-Secret") != "" || res.Header.Get(edgetest.Meta) != "" {
			t.Errorf("internal headers were passed on: %v", res.Header)
		}
	}
	if n := len(e.Registrations()); n != 2 {
		t.Errorf("there were %d registrations: a connection was lost", n)
	}
}

func TestTunnelPassesOnlyPlainRequests(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	k := connect(t, e, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })
	e.AwaitConnections(2)
	for _, h := range []http.Header{
		{edgetest.Upgrade: {"websocket"}},
		{edgetest.Upgrade: {"control-stream"}}, // a second one would get the secret
		{edgetest.Upgrade: {"something new"}},
		{edgetest.PrivateStream: {"10.0.0.1:22"}},
		{edgetest.PrivateStream: {"10.0.0.1:22"}, edgetest.Upgrade: {"control-stream"}},
		{edgetest.PrivateStream: {"10.0.0.1:22"}, edgetest.Upgrade: {"update-configuration"}},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://192.168.1.1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = h
		res, err := e.RoundTrip(r)
		if err != nil {
			t.Fatalf("%v: %v", h, err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadGateway || res.Header.Get(edgetest.Meta) != `{"src":"cloudflared"}` {
			t.Errorf("%v is answered %s %v, want 502 from the connector", h, res.Status, res.Header)
		}
	}
	if n := k.logs.FilterMessageSnippet("refused unsupported stream").Len(); n != 6 {
		t.Errorf("%d lines about 6 refused streams", n)
	}
}

func TestLongHeaderDoesNotPass(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	connect(t, e, func(w http.ResponseWriter, r *http.Request) {
		if n := len(r.Header.Get("X-Long")); n > 32<<10 {
			t.Errorf("the handler was called with a header of %d bytes", n)
		}
	})
	e.AwaitConnections(2)
	for size, passes := range map[int]bool{16 << 10: true, 64 << 10: false, 1 << 20: false} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://gallery.example.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Long", strings.Repeat("a", size))
		res, err := e.RoundTrip(r) // it knows the limit, and may fail by itself
		if err == nil {
			res.Body.Close()
		}
		if got := err == nil && res.StatusCode == http.StatusOK; got != passes {
			t.Errorf("a header of %d bytes passes: %v, %v; want %v", size, got, err, passes)
		}
	}
}

func TestConfigurationFromTheDashboardIsAcknowledgedAndChangesNothing(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	k := connect(t, e, hello)
	e.AwaitConnections(2)
	answer, err := e.Push(t.Context(), `{"version":7,"config":{"ingress":[{"service":"http://192.168.1.1"}],"warp-routing":{"enabled":true}}}`)
	if err != nil || answer != `{"lastAppliedVersion":7,"err":null}` {
		t.Errorf("the dashboard got %q, %v", answer, err)
	}
	if _, body := get(t, e.URL+"/x"); body != "hello /x" {
		t.Errorf("afterwards a visitor got %q", body)
	}
	if n := k.logs.FilterMessageSnippet("ignored ingress").Len(); n != 1 {
		t.Errorf("%d lines say that it is ignored", n)
	}
	if answer, err := e.Push(t.Context(), "{"); err != nil || answer != "" {
		t.Errorf("a broken configuration is answered %q, %v", answer, err)
	}
}

func TestConnectionsThatAreLostAreMadeAnew(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	k := connect(t, e, hello)
	k.says("tst01, tst02.")
	began := time.Now()
	e.Drop()
	e.AwaitRegistrations(4)
	e.AwaitConnections(2)
	t.Logf("figure: connections that were cut are registered again after %.1f s", time.Since(began).Seconds())
	if _, body := get(t, e.URL+"/x"); body != "hello /x" {
		t.Errorf("afterwards a visitor got %q", body)
	}
	k.says("tst01, tst02.")
	if s := k.Stats(); s.Registered < 4 || s.Lost < 2 || len(s.Locations) != 2 {
		t.Errorf("stats are %+v", s)
	}
}

func TestConnectionWhoseControlStreamEndsIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, inOrder := range map[string]bool{"in order": true, "cut off": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := edgetest.Start(t)
			k := connect(t, e, hello)
			k.says("tst01, tst02.")
			e.EndControl(inOrder)
			e.AwaitConnections(2)
			if s := k.Stats(); s.Lost < 2 {
				t.Errorf("stats are %+v, want two connections lost", s)
			}
		})
	}
}

func TestBodyThatNobodyReadsDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	held, free := make(chan struct{}), make(chan struct{})
	connect(t, e, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			close(held)
			<-free
			return
		}
		if n, err := io.Copy(io.Discard, r.Body); n != 3<<20 || err != nil {
			t.Errorf("received %d bytes, %v", n, err)
		}
	}, func(c *tunnel.Config) { c.Connections = 1 })
	e.AwaitConnections(1)
	upload := func(path string) {
		res, err := http.Post(e.URL+path, "", strings.NewReader(strings.Repeat("x", 3<<20)))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		res.Body.Close()
	}
	var both sync.WaitGroup
	both.Go(func() { upload("/hold") })
	<-held
	upload("/read")
	close(free)
	both.Wait()
	http.DefaultClient.CloseIdleConnections()
}

func TestAnswerWithoutABodyHasItsHeaders(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	connect(t, e, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", "b") })
	e.AwaitConnections(2)
	if res, body := get(t, e.URL); res.StatusCode != http.StatusOK || res.Header.Get("X-A") != "b" || body != "" {
		t.Errorf("got %s %v %q", res.Status, res.Header, body)
	}
}

func TestPathThatDiesWithoutAWordIsNoticed(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	k := connect(t, e, hello)
	k.says("tst01, tst02.")
	began := time.Now()
	e.Silence()
	e.AwaitConnections(2)
	lost := k.logs.FilterMessage("edge connection failed").All()[0].Time
	t.Logf("figure: a dead path is noticed after %.1f s, and another one in use after %.1f s", lost.Sub(began).Seconds(), time.Since(began).Seconds())
	if _, body := get(t, e.URL+"/x"); body != "hello /x" {
		t.Errorf("afterwards a visitor got %q", body)
	}
	if s := k.Stats(); s.Lost < 2 {
		t.Errorf("stats are %+v, want two connections lost", s)
	}
}

func TestTokenThatIsRefusedIsReportedAndRetriedSlowly(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	k := connect(t, e, hello, func(c *tunnel.Config) { c.TokenFile = e.WrongToken() })
	e.AwaitRefusals(2)
	k.says("rejected the tunnel's token")
	lines := k.logs.FilterLevelExact(zapcore.ErrorLevel).All()
	if len(lines) == 0 {
		t.Fatal("no error in the log")
	}
	for _, line := range lines {
		if wait := line.ContextMap()["retry_in"].(time.Duration); wait < 10*time.Second {
			t.Errorf("it tries again in %v", wait)
		}
		if text := line.ContextMap()["error"].(string); !strings.Contains(text, "Unauthorized") || !strings.Contains(text, "token") {
			t.Errorf("the log says %q", text)
		}
	}
}

func TestRefusalThatPassesIsGotOver(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	e.Refuse(edgetest.Later(errors.New("busy"), time.Millisecond))
	k := connect(t, e, hello)
	e.AwaitRefusals(2)
	k.says("asked to retry later")
	e.Refuse(nil)
	e.AwaitConnections(2)
	k.says("tst01, tst02.")
}

func TestSecondConnectionToOneServerIsNoFaultOfTheToken(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	e.Refuse(errors.New("EDUPCONN"))
	k := connect(t, e, hello)
	e.AwaitRefusals(1)
	k.says("does not accept the tunnel")
}

func TestTunnelConnectsOnlyToCloudflare(t *testing.T) {
	t.Parallel()
	e, other := edgetest.Start(t), edgetest.Start(t)
	k := connect(t, e, hello, func(c *tunnel.Config) { c.EdgeRoots = other.RootsFile })
	k.says("untrusted certificate")
	k.stop()
	if n := len(e.Registrations()) + e.Refusals(); n != 0 {
		t.Errorf("%d registrations were sent to it", n)
	}
}

func TestTunnelWithoutRootsTrustsOnlyWhoSignsForCloudflare(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	k := connect(t, e, hello, func(c *tunnel.Config) { c.EdgeRoots = "" })
	k.says("untrusted certificate")
}

func TestTunnelDeliversAnswersUnderWayAtAStop(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	half, rest := make(chan struct{}), make(chan struct{})
	k := connect(t, e, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "first half, ")
		http.NewResponseController(w).Flush()
		close(half)
		<-rest
		io.WriteString(w, "second half")
	})
	e.AwaitConnections(2)
	answered := make(chan string)
	go func() {
		res, err := http.Get(e.URL)
		if err != nil {
			t.Error(err)
			close(answered)
			return
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Error(err)
		}
		answered <- string(b)
	}()
	<-half
	k.cancel()
	e.AwaitConnections(0) // the edge sends nothing new
	close(rest)
	if got := <-answered; got != "first half, second half" {
		t.Errorf("the visitor got %q", got)
	}
	http.DefaultClient.CloseIdleConnections()
	k.stop()
	if n := e.Unregistered(); n != 2 {
		t.Errorf("%d of 2 connections were unregistered", n)
	}
}

func TestVisitorWhoLeavesEndsTheRequest(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	began, ended := make(chan struct{}), make(chan struct{})
	connect(t, e, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	e.AwaitConnections(2)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-began
		leave()
	}()
	if res, err := http.DefaultClient.Do(r); err == nil {
		res.Body.Close()
		t.Fatal("there was an answer")
	}
	<-ended
}

func TestPanicCostsOneRequest(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	connect(t, e, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic(http.ErrAbortHandler)
		}
		hello(w, r)
	})
	e.AwaitConnections(2)
	for range 2 {
		if res, _ := get(t, e.URL+"/panic"); res.StatusCode < 500 {
			t.Errorf("a request that was cut off is answered %s", res.Status)
		}
	}
	if _, body := get(t, e.URL+"/x"); body != "hello /x" {
		t.Errorf("afterwards a visitor got %q", body)
	}
	if n := len(e.Registrations()); n != 2 {
		t.Errorf("there were %d registrations: a connection was lost", n)
	}
}

func TestTunnelStopsWhileNobodyAnswers(t *testing.T) {
	t.Parallel()
	e := edgetest.Start(t)
	k := connect(t, e, hello, func(c *tunnel.Config) { c.EdgeAddresses = []string{"127.0.0.1:1"} })
	k.says("Cannot reach Cloudflare's edge")
	k.stop()
}
