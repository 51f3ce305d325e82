// Package edgetest is a fake of Cloudflare's edge for tests: it behaves as
// cloudflared's source code expects, and unmodified cloudflareds connect to it.
// It supports HTTP/2 only.
//
// Visitors send plain HTTP/1.1 requests to URL; each is forwarded through a
// connection that a connector has made and registered.
package edgetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"
	"go.uber.org/goleak"
)

// Unauthorized is the edge's response to an unknown token.
const Unauthorized = refusal("Unauthorized: Invalid tunnel secret")

type refusal string

func (r refusal) Error() string { return string(r) }

// Headers between the edge and its connectors.
const (
	Upgrade       = "Cf-Cloudflared-Proxy-Connection-Upgrade"
	PrivateStream = "Cf-Cloudflared-Proxy-Src"
	Meta          = "Cf-Cloudflared-Response-Meta"
	userHeaders   = "Cf-Cloudflared-Response-Headers"
)

// VisitorIP is the address of every visitor, as reported by the edge.
const VisitorIP = "203.0.113.7"

// Edge consists of two edge servers with one public side.
type Edge struct {
	URL       string   // for visitors
	Addresses []string // for connectors, HOST:PORT each
	RootsFile string   // authority of the edge's certificate, PEM
	TokenFile string   // file with a valid token

	t                testing.TB
	secret           []byte
	mu               sync.Mutex
	changed          chan struct{} // closed and replaced when the following fields change
	links            []*link       // registered
	records          []Registration
	ended            int   // number of unregistered connections
	refusal          error // returned for each registration, unless nil
	tried            int   // refused registrations
	failedHandshakes int   // handshakes that failed
	next             int   // request counter, for round robin
	open             sync.WaitGroup
	conns            map[*gate]bool
}

// Registration is what a connector reported at its registration.
type Registration struct {
	Index       int
	Version     string
	Features    []string
	FailedTries int
}

// Start runs an edge until the end of the test.
func Start(t testing.TB) *Edge {
	t.Helper()
	e := &Edge{t: t, changed: make(chan struct{}), conns: make(map[*gate]bool), secret: []byte(rand.Text())}
	dir := t.TempDir()
	certificate, roots := certify(t)
	e.RootsFile, e.TokenFile = filepath.Join(dir, "edge.pem"), filepath.Join(dir, "token")
	write(t, e.RootsFile, roots)
	write(t, e.TokenFile, e.token(e.secret))

	settings := &tls.Config{Certificates: []tls.Certificate{certificate}}
	listeners := make([]net.Listener, 2)
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		e.Addresses = append(e.Addresses, l.Addr().String())
		e.open.Go(func() { e.accept(l, settings) })
	}
	visitors := httptest.NewUnstartedServer(http.HandlerFunc(e.visit))
	visitors.Config.ErrorLog = log.New(io.Discard, "", 0) // responses that are cut off on purpose
	visitors.Start()
	e.URL = visitors.URL
	t.Cleanup(func() {
		for _, l := range listeners {
			l.Close()
		}
		e.Drop()
		visitors.Close()
		e.open.Wait()
	})
	return e
}

func write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// certify creates an authority and a certificate for the edge's name.
func certify(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edge stand-in"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"h2.cftunnel.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (e *Edge) token(secret []byte) []byte {
	b, err := json.Marshal(map[string]any{"a": "account", "s": secret, "t": uuid.New()})
	if err != nil {
		e.t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(b) + "\n")
}

// WrongToken returns a file with a token that this edge does not know.
func (e *Edge) WrongToken() string {
	file := e.TokenFile + ".wrong"
	write(e.t, file, e.token([]byte("another secret")))
	return file
}

// Refuse makes every further registration fail with err; nil accepts them
// again.
func (e *Edge) Refuse(err error) {
	e.change(func() { e.refusal = err })
}

func (e *Edge) change(by func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	by()
	close(e.changed)
	e.changed = make(chan struct{})
}

// patience only keeps a failure from hanging.
const patience = 5 * time.Minute

// holds waits until condition is true and returns false on timeout.
func (e *Edge) holds(condition func() bool) bool {
	over := time.After(patience)
	for {
		e.mu.Lock()
		ok, changed := condition(), e.changed
		e.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-over:
			return false
		}
	}
}

func (e *Edge) await(what string, condition func() bool) {
	e.t.Helper()
	if !e.holds(condition) {
		e.t.Fatalf("timed out waiting for %s", what)
	}
}

// AwaitConnections waits until exactly n connections are registered.
func (e *Edge) AwaitConnections(n int) {
	e.t.Helper()
	e.await(fmt.Sprintf("%d connections", n), func() bool { return len(e.links) == n })
}

// AwaitRegistrations waits until there were at least n registrations.
func (e *Edge) AwaitRegistrations(n int) {
	e.t.Helper()
	e.await(fmt.Sprintf("%d registrations", n), func() bool { return len(e.records) >= n })
}

// AwaitRefusals waits until at least n registrations were refused.
func (e *Edge) AwaitRefusals(n int) {
	e.t.Helper()
	e.await(fmt.Sprintf("%d refusals", n), func() bool { return e.tried >= n })
}

// Registrations returns all registrations so far, in order.
func (e *Edge) Registrations() []Registration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.records)
}

// Refusals returns the number of refused registrations.
func (e *Edge) Refusals() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tried
}

// Unregistered returns the number of connections that were unregistered
// properly.
func (e *Edge) Unregistered() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended
}

// Drop closes every connection. The edge no longer uses them.
func (e *Edge) Drop() {
	for _, g := range e.gates() {
		_ = g.Close()
	}
	e.change(func() { e.links = nil })
}

// Silence makes every connection stall: no more data is transferred either way,
// and the connector is not notified. The edge no longer uses them.
func (e *Edge) Silence() {
	for _, g := range e.gates() {
		g.silence()
	}
	e.change(func() { e.links = nil })
}

// EndControl ends the control streams of all connections, properly or not, and
// keeps the connections, but no longer uses them.
func (e *Edge) EndControl(inOrder bool) {
	var links []*link
	e.change(func() {
		links, e.links = e.links, nil
		for _, l := range links {
			l.kept = true
		}
	})
	for _, l := range links {
		if inOrder {
			l.hangUp()
		} else {
			l.cut()
		}
	}
}

// AwaitFailedHandshakes waits until at least n connectors rejected the
// certificate.
func (e *Edge) AwaitFailedHandshakes(n int) {
	e.t.Helper()
	e.await(fmt.Sprintf("%d failed handshakes", n), func() bool { return e.failedHandshakes >= n })
}

func (e *Edge) gates() []*gate {
	e.mu.Lock()
	defer e.mu.Unlock()
	var gates []*gate
	for g := range e.conns {
		gates = append(gates, g)
	}
	return gates
}

// Push sends a configuration, as the dashboard does, and returns the response.
func (e *Edge) Push(ctx context.Context, configuration string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://edge/", strings.NewReader(configuration))
	if err != nil {
		return "", err
	}
	r.Header.Set(Upgrade, "update-configuration")
	res, err := e.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(bytes.TrimSpace(b)), err
}

// RoundTrip sends a request unmodified to the next connector.
func (e *Edge) RoundTrip(r *http.Request) (*http.Response, error) {
	l := e.take()
	if l == nil {
		return nil, fmt.Errorf("no connector is registered")
	}
	res, err := l.client.RoundTrip(r)
	if err != nil {
		e.release(l)
		return nil, err
	}
	res.Body = &body{ReadCloser: res.Body, done: sync.OnceFunc(func() { e.release(l) })}
	return res, nil
}

type body struct {
	io.ReadCloser
	done func()
}

func (b *body) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

// visit forwards a visitor's request, and the response back.
func (e *Edge) visit(w http.ResponseWriter, r *http.Request) {
	// A response may begin before the request is complete; forward it
	// immediately.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		e.t.Error(err)
	}
	out := r.Clone(r.Context())
	out.RequestURI, out.Close = "", false
	out.URL.Scheme, out.URL.Host = "http", r.Host
	for name := range out.Header {
		if lower := strings.ToLower(name); lower == "connection" || strings.HasPrefix(lower, "cf-") {
			out.Header.Del(name) // only the edge may set these
		}
	}
	out.Header.Set("Cf-Connecting-Ip", VisitorIP)
	out.Header.Set("X-Forwarded-Proto", "https")
	out.Header.Set("Cf-Ray", rand.Text())
	for _, token := range r.Header.Values("Cf-Access-Jwt-Assertion") { // as if set by Access
		out.Header.Add("Cf-Access-Jwt-Assertion", token)
	}
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	} else {
		out.Body = &visitorBody{Reader: r.Body, connection: http.NewResponseController(w)}
	}
	res, err := e.RoundTrip(out)
	if err != nil {
		w.WriteHeader(530) // Cloudflare's status for a tunnel that is down
		return
	}
	defer res.Body.Close()
	for name, values := range unpack(e.t, res.Header.Get(userHeaders)) {
		w.Header()[name] = values
	}
	w.WriteHeader(res.StatusCode)
	if _, err := io.Copy(flushing{w}, res.Body); err != nil {
		panic(http.ErrAbortHandler) // abort, so that a partial response does not look complete
	}
}

// visitorBody can be closed while it is being read, which happens when its
// connection to the connector is lost.
type visitorBody struct {
	io.Reader
	connection *http.ResponseController
	whole      atomic.Bool
}

func (b *visitorBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		b.whole.Store(true)
	}
	return n, err
}

func (b *visitorBody) Close() error {
	if b.whole.Load() {
		return nil
	}
	return b.connection.SetReadDeadline(time.Now())
}

// flushing flushes every write.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(f.ResponseWriter).Flush()
}

// unpack parses the wire form of headers: base64(name):base64(value);…
func unpack(t testing.TB, packed string) http.Header {
	h := make(http.Header)
	for pair := range strings.SplitSeq(packed, ";") {
		name, value, ok := strings.Cut(pair, ":")
		if !ok {
			continue
		}
		n, err := base64.RawStdEncoding.DecodeString(name)
		if err != nil {
			t.Errorf("a packed header's name: %v", err)
		}
		v, err := base64.RawStdEncoding.DecodeString(value)
		if err != nil {
			t.Errorf("a packed header's value: %v", err)
		}
		h.Add(string(n), string(v))
	}
	return h
}

// Leftover ignores the one goroutine that an edge may leave behind: the RPC
// library keeps one for a server whose connection was cut. A connector has
// none.
func Leftover() goleak.Option {
	return goleak.IgnoreTopFunction("zombiezen.com/go/capnproto2/server.(*server).dispatch")
}

// Later returns a refusal that asks the connector to retry after a while.
func Later(why error, after time.Duration) error { return pogs.RetryErrorAfter(why, after) }
