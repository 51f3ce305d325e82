package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/cloudflare/cloudflared/edgediscovery"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// link is one connection to the edge. Its index stays the same across
// reconnects.
type link struct {
	net.Conn
	index   int
	attempt int // failed attempts before this one

	control      atomic.Bool // the edge has opened its control stream
	once         sync.Once
	err          error         // why it ended; valid once closed is closed
	closed       chan struct{} // it has ended
	registered   chan struct{} // closed once registered with the edge
	unregistered chan struct{} // closed once unregistered, or never registered
}

type linkKey struct{}

func newLink(c net.Conn, index, attempt int) *link {
	return &link{
		Conn: c, index: index, attempt: attempt,
		closed: make(chan struct{}), registered: make(chan struct{}), unregistered: make(chan struct{}),
	}
}

// Close implements net.Conn, for the HTTP server.
func (l *link) Close() error {
	if l.wasRegistered() {
		return l.end(errLost)
	}
	return l.end(errSilent)
}

// end closes the connection. The first reason is recorded.
func (l *link) end(why error) error {
	err := net.ErrClosed
	l.once.Do(func() {
		l.err = why
		err = l.Conn.Close()
		close(l.closed)
	})
	return err
}

func (l *link) wasRegistered() bool {
	select {
	case <-l.registered:
		return true
	default:
		return false
	}
}

// Faults of the edge, as shown by /readyz: without addresses and library
// messages, which are in the causes for the log.
var (
	errLost   = fault.New(fault.Internal, "The connection to Cloudflare's edge was lost.")
	errSilent = fault.New(fault.Internal, "Cloudflare's edge is reachable, but does not accept the tunnel.")
)

// errSpare is the error of a link without an edge server: the others use all
// known ones.
var errSpare = errors.New("no more edge servers are known")

func dialFault(err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return fault.Wrap(fault.Internal, err, "The edge presented an untrusted certificate: TLS interception on the path, or a wrong system clock.")
	}
	return fault.Wrap(fault.Internal, err, "Cannot reach Cloudflare's edge; it needs outgoing TCP to port 7844.")
}

// Pauses between two attempts of one link.
const (
	firstPause     = time.Second
	longestPause   = 30 * time.Second
	firstRefusal   = 10 * time.Second // after a refusal: a new tunnel is unknown to the edge for some seconds
	longestRefusal = 5 * time.Minute  // maximum after repeated refusals
	stableAfter    = 10 * time.Second // a link that lasted longer resets the pauses
	rediscover     = 5                // failed attempts after which the edge is resolved again
)

// pauses grow with each consecutive failure, with jitter.
type pauses struct {
	growing *backoff.ExponentialBackOff
	refused bool // the last failure was a refusal
}

func newPauses() *pauses {
	p := &pauses{growing: backoff.NewExponentialBackOff()}
	p.growing.Multiplier = 2
	p.reset(false)
	return p
}

func (p *pauses) reset(refused bool) {
	p.refused, p.growing.InitialInterval, p.growing.MaxInterval = refused, firstPause, longestPause
	if refused {
		p.growing.InitialInterval, p.growing.MaxInterval = firstRefusal, longestRefusal
	}
	p.growing.Reset()
}

// after returns the pause after a failure. It honors the edge's own request
// within limits.
func (p *pauses) after(err error) time.Duration {
	if refused := errors.Is(err, errRefused); refused != p.refused {
		p.reset(refused)
	}
	pause, longest := p.growing.NextBackOff(), p.growing.MaxInterval
	if p.refused {
		pause = max(pause, firstRefusal)
	}
	var later *pogs.RetryableError
	if errors.As(err, &later) {
		pause, longest = max(pause, later.Delay), longestRefusal
	}
	return min(pause, longest)
}

// maintain keeps the link with this index connected until ctx ends.
func (t *Tunnel) maintain(ctx context.Context, index int) {
	waits := newPauses()
	for failed := 0; ctx.Err() == nil; {
		began := time.Now()
		err := t.connect(ctx, index, failed)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > stableAfter && errors.Is(err, errLost) {
			failed = 0 // the link was stable
			waits.reset(false)
		}
		failed++
		pause := waits.after(err)
		t.logFailure(index, failed, pause, err) // before the state changes, so that the log already has the reason
		t.state.failed(index, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// logFailure logs consecutive failures with decreasing frequency: an outage may
// last for days.
func (t *Tunnel) logFailure(index, failed int, pause time.Duration, err error) {
	write := t.deps.Log.Warn
	switch {
	case bits.OnesCount(uint(failed)) != 1, errors.Is(err, errSpare):
		write = t.deps.Log.Debug
	case errors.Is(err, errRefused):
		write = t.deps.Log.Error
	}
	write("edge connection failed", zap.Int("connection", index), zap.Int("failed_attempts", failed), zap.Duration("retry_in", pause), zap.Error(err))
}

// connect makes one connection, blocks until it has ended, and returns why.
func (t *Tunnel) connect(ctx context.Context, index, attempt int) error {
	edge, conn, err := t.dial(ctx, index, attempt > 0 && attempt%rediscover == 0)
	if err != nil {
		return err
	}
	l := newLink(conn, index, attempt)
	late := time.AfterFunc(registerTime, func() {
		if !l.wasRegistered() {
			_ = l.end(errSilent) // the connection is abandoned anyway
		}
	})
	defer late.Stop()
	select {
	case t.dialed <- l:
		<-l.closed // at shutdown the server closes it after all requests have ended
	case <-ctx.Done():
		_ = l.end(ctx.Err())
	}
	_, _ = edge.GetDifferentAddr(index, false)
	return l.err
}

// dial connects to this link's edge server. refresh resolves the edge again.
func (t *Tunnel) dial(ctx context.Context, index int, refresh bool) (*edgediscovery.Edge, net.Conn, error) {
	edge, err := t.findEdge(ctx, refresh)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, err, "Cannot resolve the addresses of Cloudflare's edge: DNS does not answer, or the network is down.")
	}
	address, err := edge.GetAddr(index)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errSpare, err)
	}
	dialing, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := (&tls.Dialer{Config: t.tls}).DialContext(dialing, "tcp", address.TCP.String())
	if err != nil {
		_, _ = edge.GetDifferentAddr(index, true) // if there is no other address, this one is used again
		return nil, nil, dialFault(err)
	}
	return edge, conn, nil
}

// Probe returns why the edge cannot be reached, or nil: it resolves the edge
// and dials one server. It registers nothing and needs no token.
func Probe(ctx context.Context, c Config) error {
	t, err := New(c, Token{}, Deps{Log: zap.NewNop()})
	if err != nil {
		return err
	}
	_, conn, err := t.dial(ctx, 0, false)
	if err != nil {
		return err
	}
	return conn.Close()
}

// findEdge returns the edge's addresses, and resolves them if they are unknown
// or refresh is set.
func (t *Tunnel) findEdge(ctx context.Context, refresh bool) (*edgediscovery.Edge, error) {
	select {
	case t.finding <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t.edge != nil && !refresh {
		defer func() { <-t.finding }()
		return t.edge, nil
	}
	type found struct {
		edge *edgediscovery.Edge
		err  error
	}
	answer := make(chan found, 1)
	go func() { // the lookup ignores ctx, and must not delay shutdown
		defer func() { <-t.finding }()
		edge, err := t.discover()
		if err == nil {
			t.edge = edge
		}
		answer <- found{edge, err}
	}()
	select {
	case f := <-answer:
		return f.edge, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
