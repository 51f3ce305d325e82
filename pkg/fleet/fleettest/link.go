package fleettest

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Link is a connection to a server that can be cut: packets wait, and neither side
// notices.
type Link struct {
	URL string

	target   string
	listener net.Listener
	copies   sync.WaitGroup

	mu    sync.Mutex
	pass  *sync.Cond
	cut   bool
	delay time.Duration // of each packet
	ended bool
	conns []net.Conn
}

// NewLink returns a link to a server, until the end of the test.
func NewLink(t testing.TB, s *Server) *Link {
	t.Helper()
	return newLink(t, strings.TrimPrefix(s.URL, "nats://"))
}

func newLink(t testing.TB, target string) *Link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{URL: "nats://" + listener.Addr().String(), target: target, listener: listener}
	l.pass = sync.NewCond(&l.mu)
	l.copies.Go(l.accept)
	t.Cleanup(l.close)
	return l
}

func (l *Link) address() string { return l.listener.Addr().String() }

func (l *Link) accept() {
	for {
		in, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		out, err := net.Dial("tcp", l.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		l.mu.Lock()
		l.conns = append(l.conns, in, out)
		l.mu.Unlock()
		l.copies.Go(func() { l.copy(in, out) })
		l.copies.Go(func() { l.copy(out, in) })
	}
}

// copy forwards bytes, except while the link is cut.
func (l *Link) copy(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		l.mu.Lock()
		delay := l.delay
		l.mu.Unlock()
		time.Sleep(delay)
		l.mu.Lock()
		for l.cut && !l.ended {
			l.pass.Wait()
		}
		l.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Cut blocks all packets.
func (l *Link) Cut() { l.set(true) }

// Restore unblocks them.
func (l *Link) Restore() { l.set(false) }

// Slow delays each packet, in both directions.
func (l *Link) Slow(delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = delay
}

func (l *Link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	l.pass.Broadcast()
}

func (l *Link) close() {
	_ = l.listener.Close()
	l.mu.Lock()
	l.ended = true
	l.pass.Broadcast()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.copies.Wait()
}
