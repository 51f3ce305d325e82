package edgetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/cloudflare/cloudflared/tunnelrpc"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"
)

// link is the edge's end of one connection.
type link struct {
	edge   *Edge
	client *http.ClientConn
	busy   int    // requests in progress
	hangUp func() // ends the control stream only
	cut    func() // resets the control stream
	kept   bool   // the connection outlives its control stream
}

func (e *Edge) accept(listener net.Listener, settings *tls.Config) {
	for {
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		g := &gate{Conn: raw, edge: e, closed: make(chan struct{}), silent: make(chan struct{})}
		e.change(func() { e.conns[g] = true })
		e.open.Go(func() { e.serve(g, tls.Server(g, settings)) })
	}
}

// serve acts as the client on a connection that a connector has made: it opens
// the control stream, on which the connector registers, and waits for its end.
func (e *Edge) serve(g *gate, conn *tls.Conn) {
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		e.change(func() { e.failedHandshakes++ })
		return
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols:          protocols,
		DisableCompression: true,
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return plain{conn}, nil },
	}
	client, err := transport.NewClientConn(context.Background(), "http", "edge:80")
	if err != nil {
		return
	}
	l := &link{edge: e, client: client}
	defer e.change(func() { e.links = slices.DeleteFunc(e.links, func(other *link) bool { return other == l }) })
	defer client.Close()

	reader, writer := io.Pipe()
	defer writer.Close()
	l.hangUp = func() { writer.Close() }
	l.cut = func() { writer.CloseWithError(net.ErrClosed) } // resets the stream
	control, err := http.NewRequest(http.MethodPut, "http://edge/", reader)
	if err != nil {
		e.t.Error(err)
		return
	}
	control.Header.Set(Upgrade, "control-stream")
	res, err := client.RoundTrip(control)
	if err != nil {
		return
	}
	defer res.Body.Close()
	_ = tunnelrpc.NewRegistrationServer(l).Serve(context.Background(), stream{res.Body, writer}) // ends with the connection
	if e.isKept(l) {
		<-g.closed
	}
	e.holds(func() bool { return l.busy == 0 }) // requests may finish on an unregistered connection
}

// plain hides from net/http that a connection is TLS.
type plain struct{ net.Conn }

type stream struct {
	io.ReadCloser
	io.Writer
}

// RegisterConnection implements pogs.RegistrationServer.
func (l *link) RegisterConnection(_ context.Context, auth pogs.TunnelAuth, _ uuid.UUID, index byte, o *pogs.ConnectionOptions) (details *pogs.ConnectionDetails, err error) {
	e := l.edge
	e.change(func() {
		switch {
		case e.refusal != nil:
			err = e.refusal
		case !bytes.Equal(auth.TunnelSecret, e.secret):
			err = Unauthorized
		}
		if err != nil {
			e.tried++
			return
		}
		e.links = append(e.links, l)
		e.records = append(e.records, Registration{
			Index: int(index), Version: o.Client.Version, Features: o.Client.Features, FailedTries: int(o.NumPreviousAttempts),
		})
		details = &pogs.ConnectionDetails{UUID: uuid.New(), Location: "tst0" + string('1'+index)}
	})
	return details, err
}

// UnregisterConnection implements pogs.RegistrationServer.
func (l *link) UnregisterConnection(context.Context) {
	l.edge.change(func() {
		l.edge.ended++
		l.edge.links = slices.DeleteFunc(l.edge.links, func(other *link) bool { return other == l })
	})
}

// UpdateLocalConfiguration implements pogs.RegistrationServer.
func (l *link) UpdateLocalConfiguration(context.Context, []byte) error { return nil }

// take returns the next connection in turn, or nil.
func (e *Edge) take() (l *link) {
	e.change(func() {
		if len(e.links) > 0 {
			l = e.links[e.next%len(e.links)]
			l.busy++
			e.next++
		}
	})
	return l
}

func (e *Edge) isKept(l *link) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return l.kept
}

func (e *Edge) release(l *link) { e.change(func() { l.busy-- }) }

// gate is a connection that can stall.
type gate struct {
	net.Conn
	edge       *Edge
	once, mute sync.Once
	silent     chan struct{}
	closed     chan struct{}
}

func (g *gate) silence() { g.mute.Do(func() { close(g.silent) }) }

func (g *gate) isSilent() bool {
	select {
	case <-g.silent:
		return true
	default:
		return false
	}
}

func (g *gate) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if g.isSilent() {
		<-g.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (g *gate) Write(p []byte) (int, error) {
	if g.isSilent() {
		return len(p), nil
	}
	return g.Conn.Write(p)
}

func (g *gate) Close() error {
	g.once.Do(func() {
		close(g.closed)
		g.edge.change(func() { delete(g.edge.conns, g) })
	})
	return g.Conn.Close()
}
