package daemon

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

// openTunnel creates the embedded tunnel, if configured. Run connects it.
func (d *Daemon) openTunnel(handler http.Handler) (err error) {
	c := d.config.Tunnel
	if c.Mode != tunnel.Embedded {
		return nil
	}
	d.tunnel, err = tunnel.New(c.Config, *c.Token, tunnel.Deps{
		Handler: httpapi.ThroughTunnel(handler), Version: buildinfo.Version(), Log: d.log.Named("tunnel"),
	})
	return err
}

// markTunnelRequests marks requests that arrive over the unix socket, which
// only cloudflared uses, as coming through the tunnel.
func (d *Daemon) markTunnelRequests(handler http.Handler) http.Handler {
	tunnelled := httpapi.ThroughTunnel(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
			d.lastSocketRequest.Store(time.Now().Unix())
			tunnelled.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// tunnelCheck returns the readiness check of the tunnel, or nil if there is
// none.
func (d *Daemon) tunnelCheck() func() (string, error) {
	switch d.config.Tunnel.Mode {
	case tunnel.Embedded:
		return func() (string, error) { return d.tunnel.Check() }
	case tunnel.External:
		return func() (string, error) { return d.socketDetail(), nil }
	default:
		return nil
	}
}

// socketDetail describes an external tunnel for /readyz.
func (d *Daemon) socketDetail() string {
	last := d.lastSocketRequest.Load()
	if last == 0 {
		return "No request from cloudflared yet. Check it with 'systemctl status cloudflared', and its ingress rules with 'optimizerd tunnel check FILE'."
	}
	return fmt.Sprintf("Last request from cloudflared at %s.", time.Unix(last, 0).UTC().Format(time.RFC3339))
}
