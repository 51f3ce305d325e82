package s3_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// silent is a router between a client and a server. Connections that it has forgotten
// stay open, and nothing comes through them.
type silent struct {
	net.Listener
	to string

	mu        sync.Mutex
	forgotten []chan struct{} // of each connection
	accepted  int
}

func newSilent(t *testing.T, to string) *silent {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &silent{Listener: l, to: to}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.pass(t, client) })
		}
	})
	t.Cleanup(all.Wait)
	t.Cleanup(func() { _ = l.Close() }) // it was only listened on
	return s
}

func (s *silent) pass(t *testing.T, client net.Conn) {
	server, err := net.Dial("tcp", s.to)
	if err != nil {
		t.Error(err)
		return
	}
	forgotten := make(chan struct{})
	s.mu.Lock()
	s.forgotten = append(s.forgotten, forgotten)
	s.accepted++
	s.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { copyUntil(forgotten, server, client) })
	both.Go(func() { copyUntil(forgotten, client, server) })
	both.Wait()
}

// copyUntil copies until from ends, and discards what comes after forgotten is closed.
func copyUntil(forgotten chan struct{}, to, from net.Conn) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		select {
		case <-forgotten:
			n = 0
		default:
		}
		if _, writeErr := to.Write(b[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

func (s *silent) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.forgotten {
		close(f)
	}
	s.forgotten = nil
}

// A router forgets connections when the line at home gets a new address. TCP notices
// that after a quarter of an hour.
func TestConnectionThatWasForgottenIsNotUsedAgain(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the request is HTTP/%d, as R2 does not get it", r.ProtoMajor)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	router := newSilent(t, server.Listener.Addr().String())
	b := open(t, "https://"+router.Addr().String(), s3test.Key())
	b.Trust(server.Certificate())
	b.HurryPings(50)
	const times = 3
	for range times {
		if _, err := b.Head(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		router.forget()
	}
	router.mu.Lock()
	defer router.mu.Unlock()
	if router.accepted != times {
		t.Errorf("%d connections, want %d", router.accepted, times)
	}
}
