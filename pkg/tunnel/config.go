package tunnel

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
)

// Mode is how requests arrive from Cloudflare.
type Mode string

// The modes.
const (
	Off      Mode = "off"      // not at all
	Embedded Mode = "embedded" // over connections made by this process
	External Mode = "external" // from an external cloudflared, over a unix socket
)

// Config holds the settings of the tunnel.
type Config struct {
	Mode          Mode     `mapstructure:"mode"`
	TokenFile     string   `mapstructure:"token_file"`     // embedded: file with the tunnel's token; "" uses the systemd credential
	Connections   int      `mapstructure:"connections"`    // embedded: number of connections to the edge
	Socket        string   `mapstructure:"socket"`         // external: path of the unix socket
	EdgeAddresses []string `mapstructure:"edge_addresses"` // embedded: edge servers, HOST:PORT each; empty resolves them by DNS
	EdgeRoots     string   `mapstructure:"edge_roots"`     // embedded: PEM file of the authorities trusted for the edge; "" uses the default ones
}

// DefaultConfig disables the tunnel.
func DefaultConfig() Config {
	return Config{Mode: Off, Connections: 2, Socket: "/run/optimizerd/http.sock", EdgeAddresses: []string{}}
}

// maxConnections is the number of connections the edge accepts from one
// connector.
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
	if c.EdgeRoots != "" { // loading the system's takes time and memory
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
