package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// hostGuard protects a server that needs no token from web pages: a browser on
// the same machine reaches loopback too, for whatever site it shows. It refuses
// host names that are not the server's, which a page can point at loopback (DNS
// rebinding), and writing requests that another site sends.
type hostGuard struct {
	hosts       []string // beside loopback; lower case, without a port
	crossOrigin http.CrossOriginProtection
}

func newHostGuard(hosts ...string) *hostGuard {
	g := new(hostGuard)
	for _, h := range hosts {
		g.hosts = append(g.hosts, strings.ToLower(h))
	}
	return g
}

// check returns nil, or a MisdirectedRequest or Forbidden fault.
func (g *hostGuard) check(r *http.Request) error {
	if !g.serves(r.Host) {
		return fault.New(fault.MisdirectedRequest, "This server does not answer for the host %.100q: use its own address, or add the host to http.allowed_hosts.", r.Host)
	}
	if err := g.crossOrigin.Check(r); err != nil {
		return fault.Wrap(fault.Forbidden, err, "A server without tokens takes no writing request from another web site.")
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
	return loopback(host) || slices.Contains(g.hosts, strings.ToLower(host))
}

// GuardHosts gives next only requests whose Host is loopback, localhost or one
// of hosts, and no writing request of another web site. It is for handlers that
// are not part of the API and ask for no token.
func GuardHosts(next http.Handler, hosts ...string) http.Handler {
	g := newHostGuard(hosts...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.check(r); err != nil {
			f := fault.From(err)
			http.Error(w, fmt.Sprintf("%s: %s", f.Code, f.Detail), statusByCode[f.Code].status)
			return
		}
		next.ServeHTTP(w, r)
	})
}
