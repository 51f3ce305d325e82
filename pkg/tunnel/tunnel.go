// Package tunnel is the Cloudflare end of the daemon: connections that it
// makes to Cloudflare's edge, through which the edge sends requests back. No
// port is open, no address is public.
//
//	visitor ─► Cloudflare's edge ══ TLS, dialled from here ══► Tunnel ─► http.Handler
//
// It is the only importer of cloudflared, and takes from it what the wire needs:
// the registration RPC, the discovery of the edge, and the edge's roots. All
// else is net/http: on a connection to the edge the edge is the HTTP/2 client
// and this is the server.
//
// It does not route. Whatever the account at Cloudflare says, there is one
// handler behind the tunnel; configuration that is pushed is acknowledged and
// ignored, streams into the private network and websockets are refused. So
// whoever takes the account over can reach this API, and nothing else at home.
package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/cloudflare/cloudflared/edgediscovery"
	"github.com/cloudflare/cloudflared/edgediscovery/allregions"
	"github.com/cloudflare/cloudflared/tlsconfig"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// edgeName is what the certificate of the edge has to be for.
const edgeName = "h2.cftunnel.com"

// How long things may take. A path that dies without a word is noticed after
// silence and pingTime together.
const (
	dialTime       = 15 * time.Second // for TCP and TLS
	registerTime   = 15 * time.Second // from there until the edge has taken the tunnel
	rpcTime        = 5 * time.Second  // for one call
	unregisterTime = 5 * time.Second  // for all connections together
	idleTimeout    = 10 * time.Second // without a byte from the edge; then it is asked
	pingTime       = 4 * time.Second  // for it to answer
)

// What may be on its way over one link. The queue bounds what is worked on, so
// requests at once are as many as the edge likes. A body that nobody reads must
// not take the room of the others'.
const (
	maxStreams    = math.MaxInt32
	linkBuffer    = 4 << 20   // bytes
	requestBuffer = 512 << 10 // bytes; over a path of 20 ms that is 25 MB/s
)

// Deps are what a Tunnel works with.
type Deps struct {
	Handler http.Handler // gets each request that comes through the tunnel
	Version string       // of this program, which the edge and the dashboard are told
	Log     *zap.Logger
}

// Tunnel keeps connections to the edge. New makes one, Run connects it.
type Tunnel struct {
	deps     Deps
	auth     pogs.TunnelAuth
	id       uuid.UUID // of the tunnel
	client   pogs.ClientInfo
	tls      *tls.Config
	links    int
	discover func() (*edgediscovery.Edge, error)
	finding  chan struct{} // holds one token: who has it may look for the edge
	edge     *edgediscovery.Edge
	dialled  chan net.Conn
	stopping <-chan struct{} // closed when Run has to end
	state    state
}

// New checks the token and the roots. Nothing is dialled yet.
func New(c Config, token Token, d Deps) (*Tunnel, error) {
	roots, err := edgeRoots(c.EdgeRoots)
	if err != nil {
		return nil, fmt.Errorf("tunnel.edge_roots: %w", err)
	}
	instance := uuid.New()
	t := &Tunnel{
		deps:    d,
		auth:    pogs.TunnelAuth{AccountTag: token.account, TunnelSecret: token.secret},
		id:      token.id,
		client:  clientInfo(instance, d.Version),
		tls:     &tls.Config{RootCAs: roots, ServerName: edgeName, MinVersion: tls.VersionTLS12},
		links:   c.Connections,
		finding: make(chan struct{}, 1),
		dialled: make(chan net.Conn),
	}
	log := zerolog.New(zapWriter{d.Log})
	t.discover = func() (*edgediscovery.Edge, error) { return edgediscovery.ResolveEdge(&log, "", allregions.Auto) }
	if len(c.EdgeAddresses) > 0 {
		t.links = min(t.links, len(c.EdgeAddresses)) // one connection an address
		t.discover = func() (*edgediscovery.Edge, error) { return edgediscovery.StaticEdge(&log, c.EdgeAddresses) }
	}
	return t, nil
}

// edgeRoots are the authorities that may sign for the edge: those of the
// system and Cloudflare's own, or the ones in a file instead.
func edgeRoots(file string) (*x509.CertPool, error) {
	if file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", file)
		}
		return pool, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // Cloudflare's own are what counts
	}
	own, err := tlsconfig.GetCloudflareRootCA()
	if err != nil {
		return nil, err
	}
	for _, c := range own {
		pool.AddCert(c)
	}
	return pool, nil
}

// Run keeps the connections until ctx ends. Then it unregisters them, so that
// the edge sends no further request, lets the requests at hand end for as long
// as drain, and hangs up. Trouble with the edge is no error: it is told by
// Check, and tried again.
func (t *Tunnel) Run(ctx context.Context, drain time.Duration) error {
	t.stopping = ctx.Done()
	server := t.newServer()
	listener := &dialledListener{links: t.dialled, closed: make(chan struct{})}
	group := new(errgroup.Group)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("tunnel: %w", err)
		}
		return nil
	})
	for i := range t.links {
		group.Go(func() error { t.maintain(ctx, i); return nil })
	}

	<-ctx.Done()
	t.state.awaitUnregistered(unregisterTime)
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(drained); err != nil {
		t.deps.Log.Warn("tunnel requests cut off at shutdown", zap.Error(err))
		_ = server.Close() // its error is that of a listener closed before
	}
	return group.Wait()
}

// newServer is the HTTP/2 server that all connections share. TLS is the
// dialler's, so to net/http they are in the clear.
func (t *Tunnel) newServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:   http.HandlerFunc(t.dispatch),
		Protocols: protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: idleTimeout, PingTimeout: pingTime,
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: linkBuffer, MaxReceiveBufferPerStream: requestBuffer,
		},
		ReadHeaderTimeout: registerTime, // for the first bytes of the edge
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, linkKey{}, c)
		},
		ErrorLog: zap.NewStdLog(t.deps.Log),
	}
}

// dialledListener hands connections that were dialled to a server that wants
// to accept them.
type dialledListener struct {
	links  <-chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *dialledListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.links:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *dialledListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *dialledListener) Addr() net.Addr { return &net.TCPAddr{} }
