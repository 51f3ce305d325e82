package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
)

const (
	dialTimeout   = 10 * time.Second // with the look-up
	tlsTimeout    = 10 * time.Second
	headerTimeout = 20 * time.Second // from the request to the header of the answer
	maxHeader     = 64 << 10
	maxIdle       = 8 // connections kept for the next request
	idleTimeout   = 30 * time.Second
)

var userAgent = "optimizerd/" + buildinfo.Version() + " (+https://github.com/optimizerd/optimizerd)"

// ErrRedirects is in the client's error when there were more redirects than
// it follows.
var ErrRedirects = errors.New("too many redirects")

// NewClient returns a client that keeps to the rules and follows so many
// redirects; with 0 a redirect is an answer like any other. The deadline of a
// whole request is that of its context.
func NewClient(rules Rules, redirects int) *http.Client {
	return &http.Client{
		Transport: &guard{rules, &http.Transport{
			Proxy:                  nil, // it would be the proxy's address that is checked
			DialContext:            rules.dial,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			TLSHandshakeTimeout:    tlsTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns:           maxIdle,
			IdleConnTimeout:        idleTimeout,
		}},
		CheckRedirect: func(next *http.Request, earlier []*http.Request) error {
			switch {
			case redirects == 0:
				return http.ErrUseLastResponse
			case len(earlier) > redirects:
				return ErrRedirects
			}
			next.Header.Del("Referer") // the query of the URL before may hold a key
			return nil
		},
	}
}

// guard checks every request by its URL: the client sends each hop through it.
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
		response.Header.Del("Location") // if it is no URL, the client would quote it in an error, secrets and all
	}
	return response, nil
}

// dial connects to a host all of whose addresses the rules allow. A name with
// one address outside and one at home is refused whole, whichever would have
// answered first.
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
	// The dialler looks the name up again, and may be told something else.
	dialer := net.Dialer{Resolver: r.Resolver, Control: r.control}
	return dialer.DialContext(ctx, network, address)
}

// control is called with the very address that the kernel is to connect to.
func (r Rules) control(_, address string, _ syscall.RawConn) error {
	addrPort, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	return r.checkAddr(addrPort.Addr())
}

// RetryAfter is how long an answer asks to be left alone, by seconds or by a
// date, or 0.
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
