package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
)

const (
	dialTimeout   = 10 * time.Second // including the lookup
	tlsTimeout    = 10 * time.Second
	headerTimeout = 20 * time.Second // from the request to the response header
	maxHeader     = 64 << 10
	maxIdle       = 8 // idle connections kept for reuse
	idleTimeout   = 30 * time.Second
	pingTime      = 8 * time.Second // without data, until an HTTP/2 connection is probed, and until it counts as dead
)

var userAgent = "optimizerd/" + buildinfo.Version() + " (+https://github.com/optimizerd/optimizerd)"

// ErrRedirects is wrapped in the client's error after too many redirects.
var ErrRedirects = errors.New("too many redirects")

// NewClient returns a client that enforces the rules and follows at most
// redirects redirects; with 0, redirects are returned as responses. The
// request's context sets the overall deadline.
func NewClient(rules Rules, redirects int) *http.Client {
	return &http.Client{
		Transport: &guard{rules, &http.Transport{
			Proxy:                  nil, // a proxy's address would be checked instead
			DialContext:            rules.dial,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			TLSHandshakeTimeout:    tlsTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns:           maxIdle,
			IdleConnTimeout:        idleTimeout,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingTime, PingTimeout: pingTime},
		}},
		CheckRedirect: func(next *http.Request, earlier []*http.Request) error {
			switch {
			case redirects == 0:
				return http.ErrUseLastResponse
			case len(earlier) > redirects:
				return ErrRedirects
			}
			next.Header.Del("Referer") // the previous URL's query may contain a key
			return nil
		},
	}
}

// guard checks the URL of every request, including redirects.
type guard struct {
	rules Rules
	*http.Transport
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.rules.Check(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept-Encoding", "identity")
	response, err := g.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if _, err := response.Location(); err != nil {
		response.Header.Del("Location") // an invalid one would be quoted in the client's error, including secrets
	}
	return response, nil
}

// dial connects to a host if the rules allow all of its addresses. A name with
// one public and one private address is refused, whichever would be tried
// first.
func (r Rules) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := cmp.Or(r.Resolver, net.DefaultResolver).LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if err := r.checkAddr(addr.Unmap()); err != nil {
			return nil, err
		}
	}
	// The dialer resolves the name again and may get another answer.
	dialer := net.Dialer{Resolver: r.Resolver, Control: r.control}
	return dialer.DialContext(ctx, network, address)
}

// control is called with the address that the kernel is about to connect to.
func (r Rules) control(_, address string, _ syscall.RawConn) error {
	addrPort, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	return r.checkAddr(addrPort.Addr())
}

// WithoutURL returns an error of an http.Client without the URL that it quotes, whose
// query may contain a secret.
func WithoutURL(err error) error {
	var quoting *url.Error
	if errors.As(err, &quoting) {
		return quoting.Err
	}
	return err
}

// RetryAfter returns the Retry-After duration of a response, given in seconds
// or as a date, or 0.
func RetryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(seconds, 1<<31)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}
