package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// hostGuard protects a server without tokens from web pages: a browser on the
// same machine reaches loopback too, on behalf of any site. It refuses host
// names that are not the server's, which a page can point at loopback (DNS
// rebinding), and cross-origin requests that change something (CSRF).
type hostGuard struct {
	hosts       []string // besides loopback; lower case, without a port
	addresses   bool     // any IP address is the server's: no web page can choose one
	crossOrigin http.CrossOriginProtection
}

func newHostGuard(hosts ...string) *hostGuard {
	g := new(hostGuard)
	for _, h := range hosts {
		g.hosts = append(g.hosts, strings.Trim(strings.ToLower(h), "[]")) // an IPv6 address has brackets in a URL
	}
	return g
}

// check returns nil, or a MisdirectedRequest or Forbidden fault.
func (g *hostGuard) check(r *http.Request) error {
	if !g.serves(r.Host) {
		return fault.New(fault.MisdirectedRequest, "This server does not answer for the host %.100q: use its own address, or add the host to http.allowed_hosts.", r.Host)
	}
	if err := g.crossOrigin.Check(r); err != nil {
		return fault.Wrap(fault.Forbidden, err, "This server has no tokens, so it refuses requests from other web sites that would change something.")
	}
	return nil
}

// serves reports whether a Host header names this server; the port does not
// matter.
func (g *hostGuard) serves(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if _, err := netip.ParseAddr(host); err == nil && g.addresses {
		return true
	}
	return loopback(host) || slices.Contains(g.hosts, strings.ToLower(host))
}

// RequireToken passes requests with one of the tokens, or all if there are no
// tokens.
func RequireToken(next http.HandlerFunc, tokens []string) http.HandlerFunc {
	auth := newAuthenticator(tokens)
	return func(w http.ResponseWriter, r *http.Request) {
		if err := auth.check(r); err != nil {
			Refuse(w, r, err)
			return
		}
		next(w, r)
	}
}

// Refuse answers a request to a handler outside the API with a problem.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	_ = newResponse(w, r).problem(fault.From(err)) // the client is gone
}

// Problems passes on requests that have a route in mux, and refuses others with a
// problem.
func Problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, route := mux.Handler(r); route == "" {
			Refuse(w, r, noRoute(mux, w, r))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Guard protects a handler outside the API, on a listener at address, and gives each
// request an id, in X-Request-Id of the request and the response. It passes
// requests whose Host is an IP address, localhost or one of hosts, unless they are
// cross-origin and change something. If other machines can reach the listener, it
// also requires one of the tokens.
func Guard(next http.Handler, address string, tokens []string, hosts ...string) http.Handler {
	g := newHostGuard(hosts...)
	g.addresses = true
	auth := newAuthenticator(tokens)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(requestIDHeader, newResponse(w, r).requestID)
		err := g.check(r)
		if err == nil && !LoopbackOnly(address) {
			err = auth.check(r)
		}
		if err != nil {
			Refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
