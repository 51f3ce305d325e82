package s3test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Proxy passes requests on to a server. It can answer them itself, and records which
// objects were written.
type Proxy struct {
	URL string

	mu          sync.Mutex
	intercept   func(w http.ResponseWriter, r *http.Request) bool
	stored      map[string]bool // keys of objects that were written and not deleted
	overwritten []string
	requests    map[string]int // by method
}

// NewProxy runs a proxy in front of the server until the test ends.
func NewProxy(t testing.TB, server *Server) *Proxy {
	t.Helper()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{stored: make(map[string]bool), requests: make(map[string]int)}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			p.record(r)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		intercept := p.intercept
		p.requests[r.Method]++
		p.mu.Unlock()
		if intercept == nil || !intercept(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	p.URL = front.URL
	return p
}

func (p *Proxy) record(r *http.Response) {
	key := strings.TrimPrefix(r.Request.URL.Path, "/"+BucketName+"/")
	if r.StatusCode >= 300 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.Request.Method {
	case http.MethodPut:
		if p.stored[key] {
			p.overwritten = append(p.overwritten, key)
		}
		p.stored[key] = true
	case http.MethodDelete:
		delete(p.stored, key)
	}
}

// Intercept calls f with each request before it is passed on; f returns whether it
// has answered. nil passes on all.
func (p *Proxy) Intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.intercept = f
}

// Overwritten returns the keys of objects that were written twice.
func (p *Proxy) Overwritten() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.overwritten
}

// Requests returns the number of requests of a method so far.
func (p *Proxy) Requests(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[method]
}

// Refuse answers with an S3 error.
func Refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<Error><Code>" + code + "</Code><Message>test</Message></Error>"))
}

// HangUp breaks the connection without an answer.
func HangUp() { panic(http.ErrAbortHandler) }
