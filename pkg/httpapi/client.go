package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
)

type tunnelKey struct{}

// ThroughTunnel wraps a handler of New for requests that arrive through
// Cloudflare's tunnel. There the edge's headers are trusted, since no one else
// can set them.
func ThroughTunnel(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tunnelKey{}, true)))
	})
}

func throughTunnel(r *http.Request) bool { return r.Context().Value(tunnelKey{}) != nil }

// checkAccess returns why Cloudflare Access refuses a request, or nil.
func (a *api) checkAccess(r *http.Request) error {
	if a.guard != nil {
		if err := a.guard.check(r); err != nil {
			return err
		}
	}
	if a.Access == nil || !throughTunnel(r) {
		return nil
	}
	return a.Access(r)
}

// base returns the base of the URLs in a response.
func (a *api) base(r *http.Request) string { return a.Views.Base(a.ownBase(r)) }

// ownBase returns the scheme and host the client used. The edge sets the scheme; it
// forwards X-Forwarded-Host from visitors, so that header is trusted only from a
// configured proxy. A request need not have a usable host: HTTP/1.0 has none. Then
// the host is the address at which the request arrived.
func (a *api) ownBase(r *http.Request) string {
	scheme, host := "http", localHost(r)
	if hostInURL.MatchString(r.Host) {
		host = r.Host
	}
	if r.TLS != nil {
		scheme = "https"
	}
	proxy := a.fromProxy(r)
	if proto := r.Header.Get("X-Forwarded-Proto"); (proxy || throughTunnel(r)) && (proto == "http" || proto == "https") {
		scheme = proto
	}
	if forwarded := lastOfList(r.Header.Values("X-Forwarded-Host")); proxy && hostInURL.MatchString(forwarded) {
		host = forwarded
	}
	return scheme + "://" + host
}

// hostInURL matches a name or an address, with or without a port.
var hostInURL = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?$`)

// lastOfList returns the last element of a header that is a list: a proxy appends its
// own value to those that the client sent.
func lastOfList(values []string) string {
	list := strings.Join(values, ",")
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}

// localHost returns the address at which a request arrived.
func localHost(r *http.Request) string {
	if address, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return address.String()
	}
	return "localhost"
}

// client returns the address of the client for the log: from the edge's or
// proxy's header, otherwise the peer's.
func (a *api) client(r *http.Request) string {
	if throughTunnel(r) || a.fromProxy(r) {
		if ip, err := netip.ParseAddr(r.Header.Get("Cf-Connecting-Ip")); err == nil {
			return ip.String()
		}
	}
	return address(r.RemoteAddr)
}

// address returns the IP address of a peer, or "" if it has none.
func address(peer string) string {
	if p, err := netip.ParseAddrPort(peer); err == nil {
		return p.Addr().Unmap().String()
	}
	return ""
}

// fromProxy reports whether the request came from a configured proxy.
func (a *api) fromProxy(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || throughTunnel(r) { // the peer is the edge, or a unix socket
		return false
	}
	for _, p := range a.proxies {
		if p.Contains(peer.Addr().Unmap()) {
			return true
		}
	}
	return false
}
