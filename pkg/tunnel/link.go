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

// link is one connection to the edge. Its number stays the same when it is
// made anew.
type link struct {
	net.Conn
	index   int
	attempt int // how many tries failed before this one

	control      atomic.Bool // the edge has opened its control stream
	once         sync.Once
	err          error         // why it ended, once closed is closed
	closed       chan struct{} // it has ended
	registered   chan struct{} // closed when the edge has taken it
	unregistered chan struct{} // closed when it is not, or no longer, registered
}

type linkKey struct{}

func newLink(c net.Conn, index, attempt int) *link {
	return &link{
		Conn: c, index: index, attempt: attempt,
		closed: make(chan struct{}), registered: make(chan struct{}), unregistered: make(chan struct{}),
	}
}

// Close implements net.Conn, for the server.
func (l *link) Close() error {
	if l.wasRegistered() {
		return l.end(errLost)
	}
	return l.end(errSilent)
}

// end hangs up. The first reason counts.
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

// What goes wrong with the edge, as /readyz tells it: without addresses and
// library text, which are the causes and for the log.
var (
	errLost   = fault.New(fault.Internal, "The connection to Cloudflare's edge was lost.")
	errSilent = fault.New(fault.Internal, "Cloudflare's edge was reached, but does not accept the tunnel.")
)

// errSpare is of a link for which there is no server of the edge left: the
// others have them all.
var errSpare = errors.New("no further edge server is known")

func dialFault(err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return fault.Wrap(fault.Internal, err, "The edge presented an untrusted certificate: TLS interception on the path, or a wrong system clock.")
	}
	return fault.Wrap(fault.Internal, err, "Cannot reach Cloudflare's edge; it needs outgoing TCP to port 7844.")
}

// The pauses between two tries of one link.
const (
	firstPause     = time.Second
	longestPause   = 30 * time.Second
	firstRefusal   = 10 * time.Second // after a refusal: a new tunnel is unknown to the edge for some seconds
	longestRefusal = 5 * time.Minute  // after many
	stableAfter    = 10 * time.Second // a link that was good for longer begins anew with the pauses
	rediscover     = 5                // tries that failed, and the edge is looked for anew
)

// pauses grow with each failure in a row, and are jittered.
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

// after is how long to wait after this failure: as long as the edge asks for,
// within reason.
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

// keep makes the link with this number again and again until ctx ends.
func (t *Tunnel) maintain(ctx context.Context, index int) {
	waits := newPauses()
	for failed := 0; ctx.Err() == nil; {
		began := time.Now()
		err := t.connect(ctx, index, failed)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > stableAfter && errors.Is(err, errLost) {
			failed = 0 // it was good for a while
			waits.reset(false)
		}
		failed++
		pause := waits.after(err)
		t.state.failed(index, err)
		t.logFailure(index, failed, pause, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// complain logs the first failure in a row and then ever fewer: an outage may
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

// connect makes one connection and returns when it has ended, with why.
func (t *Tunnel) connect(ctx context.Context, index, attempt int) error {
	edge, conn, err := t.dial(ctx, index, attempt > 0 && attempt%rediscover == 0)
	if err != nil {
		return err
	}
	l := newLink(conn, index, attempt)
	late := time.AfterFunc(registerTime, func() {
		if !l.wasRegistered() {
			_ = l.end(errSilent) // the error of a connection that is given up
		}
	})
	defer late.Stop()
	select {
	case t.dialled <- l:
		<-l.closed // at a stop by the server, when all requests have ended
	case <-ctx.Done():
		_ = l.end(ctx.Err())
	}
	_, _ = edge.GetDifferentAddr(index, false)
	return l.err
}

// dial connects to the address of the edge that this link has, looked up anew
// or as it is known.
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
		_, _ = edge.GetDifferentAddr(index, true) // if there is none, this one is tried again
		return nil, nil, dialFault(err)
	}
	return edge, conn, nil
}

// Probe says why the edge cannot be reached, if so: its addresses are looked
// up, and one of them is dialled. Nothing is registered, and no token is needed.
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

// findEdge looks for the edge's addresses when they are not known yet, or anew.
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
	go func() { // the look-up heeds no context, and must not hold up a stop
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
