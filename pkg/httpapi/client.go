package httpapi

import (
	"context"
	"net/http"
	"net/netip"
)

type tunnelKey struct{}

// ThroughTunnel gives a handler of New what has come through Cloudflare's
// tunnel: there the edge's word counts, for nobody else can have put it there.
func ThroughTunnel(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tunnelKey{}, true)))
	})
}

func throughTunnel(r *http.Request) bool { return r.Context().Value(tunnelKey{}) != nil }

// checkAccess returns why a request may not come in at all.
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

// base is the scheme and host of the URLs in an answer.
func (a *api) base(r *http.Request) string { return a.Views.Base(a.ownBase(r)) }

// ownBase is the scheme and host that the client used. The edge says by which
// scheme; a host in a header it passes on from whoever wrote it, so that one
// counts from a configured proxy alone.
func (a *api) ownBase(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	proxy := a.fromProxy(r)
	if proto := r.Header.Get("X-Forwarded-Proto"); (proxy || throughTunnel(r)) && (proto == "http" || proto == "https") {
		scheme = proto
	}
	if forwarded := r.Header.Get("X-Forwarded-Host"); proxy && forwarded != "" {
		host = forwarded
	}
	return scheme + "://" + host
}

// client is the address of who sent the request, for the log: as the edge
// tells it, or of the connection's other end.
func (a *api) client(r *http.Request) string {
	if throughTunnel(r) || a.fromProxy(r) {
		if ip, err := netip.ParseAddr(r.Header.Get("Cf-Connecting-Ip")); err == nil {
			return ip.String()
		}
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return peer.Addr().Unmap().String()
	}
	return ""
}

// fromProxy reports whether the request came from a configured proxy.
func (a *api) fromProxy(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || throughTunnel(r) { // the other end is the edge, or none
		return false
	}
	for _, p := range a.proxies {
		if p.Contains(peer.Addr().Unmap()) {
			return true
		}
	}
	return false
}
