// Package tunnel connects the daemon to Cloudflare: it dials Cloudflare's edge,
// which sends requests back over these connections. It needs no open port or
// public address.
//
//	visitor ─► Cloudflare's edge ══ TLS, dialed from here ══► Tunnel ─► http.Handler
//
// It is the only importer of cloudflared, and uses its wire protocol only: the
// registration RPC, the discovery of the edge, and the edge's root
// certificates. The rest is net/http: on these connections the edge is the
// HTTP/2 client and this process the server.
//
// It does not route. Whatever is configured at Cloudflare, there is one handler
// behind the tunnel; pushed configuration is acknowledged and ignored, streams
// into the private network and websockets are refused. So an attacker who takes
// over the account can reach this API, and nothing else at home.
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

// edgeName is the name in the edge's certificate.
const edgeName = "h2.cftunnel.com"

// Timeouts. A stalled connection is detected after idleTimeout plus pingTime.
const (
	dialTime       = 15 * time.Second // for TCP and TLS
	registerTime   = 15 * time.Second // from dialing to registration
	rpcTime        = 5 * time.Second  // per call
	unregisterTime = 5 * time.Second  // for all connections together
	idleTimeout    = 10 * time.Second // without data from the edge before a ping
	pingTime       = 4 * time.Second  // for the ping's response
)

// Limits per link. The queue limits the work, so the number of parallel
// requests is up to the edge. An unread body must not use up the buffer of the
// others.
const (
	maxStreams    = math.MaxInt32
	linkBuffer    = 4 << 20   // bytes
	requestBuffer = 512 << 10 // bytes; 25 MB/s on a path of 20 ms

	maxHeaderBytes = 32 << 10 // of one request
)

// Deps are the dependencies of a Tunnel.
type Deps struct {
	Handler http.Handler // handles each request through the tunnel
	Version string       // version of this program, reported to the edge and the dashboard
	Log     *zap.Logger
}

// Tunnel maintains connections to the edge. New creates one, Run connects it.
type Tunnel struct {
	deps     Deps
	auth     pogs.TunnelAuth
	id       uuid.UUID // id of the tunnel
	client   pogs.ClientInfo
	tls      *tls.Config
	links    int
	discover func() (*edgediscovery.Edge, error)
	finding  chan struct{} // held while the edge is being resolved
	edge     *edgediscovery.Edge
	dialed   chan net.Conn
	stopping <-chan struct{} // closed when Run must end
	state    state
}

// New validates the roots. It does not dial.
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
		dialed:  make(chan net.Conn),
	}
	log := zerolog.New(zapWriter{d.Log})
	t.discover = func() (*edgediscovery.Edge, error) { return edgediscovery.ResolveEdge(&log, "", allregions.Auto) }
	if len(c.EdgeAddresses) > 0 {
		t.links = min(t.links, len(c.EdgeAddresses)) // one connection per address
		t.discover = func() (*edgediscovery.Edge, error) { return edgediscovery.StaticEdge(&log, c.EdgeAddresses) }
	}
	return t, nil
}

// edgeRoots returns the authorities trusted for the edge: those of the system
// and Cloudflare's own, or those in a file instead.
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
		pool = x509.NewCertPool() // Cloudflare's own suffice
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

// Run maintains the connections until ctx ends. Then it unregisters them, so
// that the edge sends no further requests, waits up to drain for requests in
// progress, and closes the connections. Trouble with the edge is not an error:
// it is retried and reported by Check.
func (t *Tunnel) Run(ctx context.Context, drain time.Duration) error {
	t.stopping = ctx.Done()
	server := t.newServer()
	listener := &dialedListener{links: t.dialed, closed: make(chan struct{})}
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
		_ = server.Close() // the listener may be closed already
	}
	return group.Wait()
}

// newServer returns the HTTP/2 server shared by all connections. The dialer
// handles TLS, so to net/http they are plaintext.
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
		ReadHeaderTimeout: registerTime, // for the edge's first bytes
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, linkKey{}, c)
		},
		ErrorLog: zap.NewStdLog(t.deps.Log),
	}
}

// dialedListener passes dialed connections to a server that accepts them.
type dialedListener struct {
	links  <-chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *dialedListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.links:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *dialedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *dialedListener) Addr() net.Addr { return &net.TCPAddr{} }
