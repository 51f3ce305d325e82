package tunnel

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
)

// Mode is how requests come from Cloudflare.
type Mode string

// The modes.
const (
	Off      Mode = "off"      // they do not
	Embedded Mode = "embedded" // over connections of this process
	External Mode = "external" // from a cloudflared beside it, over a unix socket
)

// Config holds the settings of the tunnel.
type Config struct {
	Mode          Mode     `mapstructure:"mode"`
	TokenFile     string   `mapstructure:"token_file"`     // embedded: the tunnel's token; "" leaves it to the systemd credential
	Connections   int      `mapstructure:"connections"`    // embedded: to how many servers of the edge
	Socket        string   `mapstructure:"socket"`         // external: the unix socket, where cloudflared comes
	EdgeAddresses []string `mapstructure:"edge_addresses"` // embedded: HOST:PORT each; none asks DNS
	EdgeRoots     string   `mapstructure:"edge_roots"`     // embedded: a PEM file with who may sign for the edge; "" is who does
}

// DefaultConfig has no tunnel.
func DefaultConfig() Config {
	return Config{Mode: Off, Connections: 2, Socket: "/run/optimizerd/http.sock", EdgeAddresses: []string{}}
}

// maxConnections is what the edge takes of one connector.
const maxConnections = 4

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	var errs []error
	if modes := []Mode{Off, Embedded, External}; !slices.Contains(modes, c.Mode) {
		errs = append(errs, fmt.Errorf("tunnel.mode: must be one of %v (got %q)", modes, c.Mode))
	}
	if c.Connections < 1 || c.Connections > maxConnections {
		errs = append(errs, fmt.Errorf("tunnel.connections: must be from 1 to %d (got %d)", maxConnections, c.Connections))
	}
	if !filepath.IsAbs(c.Socket) {
		errs = append(errs, fmt.Errorf("tunnel.socket: must be an absolute path (got %q)", c.Socket))
	}
	if c.EdgeRoots != "" { // those of the system take time and memory to load
		if _, err := edgeRoots(c.EdgeRoots); err != nil {
			errs = append(errs, fmt.Errorf("tunnel.edge_roots: %w", err))
		}
	}
	for i, a := range c.EdgeAddresses {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			errs = append(errs, fmt.Errorf("tunnel.edge_addresses[%d]: must be HOST:PORT (got %q)", i, a))
		}
	}
	return errors.Join(errs...)
}
