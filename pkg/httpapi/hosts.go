package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// hostGuard protects a server that needs no token from web pages: a browser on
// the same machine reaches loopback too, on behalf of any site. It refuses
// host names that are not the server's, which a page can point at loopback (DNS
// rebinding), and cross-origin requests that change something.
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
		return fault.Wrap(fault.Forbidden, err, "A server without tokens refuses requests of other web sites that change something.")
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

// Guard protects a handler outside the API, on a listener at address. It passes
// requests whose Host is an IP address, localhost or one of hosts, unless they are
// cross-origin and change something. If other machines can reach the listener, it
// also requires one of the tokens.
func Guard(next http.Handler, address string, tokens []string, hosts ...string) http.Handler {
	g := newHostGuard(hosts...)
	g.addresses = true
	auth := newAuthenticator(tokens)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := g.check(r)
		if err == nil && !LoopbackOnly(address) {
			err = auth.check(r)
		}
		if err != nil {
			f := fault.From(err)
			http.Error(w, fmt.Sprintf("%s: %s", f.Code, f.Detail), statusByCode[f.Code].status)
			return
		}
		next.ServeHTTP(w, r)
	})
}
