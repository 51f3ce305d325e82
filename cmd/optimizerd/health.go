package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

func healthCommand(o *options) *cobra.Command {
	var (
		address string
		ready   bool
		timeout time.Duration
	)
	c := &cobra.Command{
		Use:   "health",
		Short: "Check whether a running daemon is healthy, for container health checks",
		Long: `Request /healthz from the daemon on this machine, print the response and exit with 0
if it is healthy, or with 1 if it is not or does not answer.

The command connects to http.listen. If that has port 0, only the daemon knows the port:
the command then uses tunnel.socket if tunnel.mode is external, and otherwise requires
--address.`,
		Example: `  optimizerd health --config /etc/optimizerd/config.yaml
  optimizerd health --ready --address 127.0.0.1:8080
  optimizerd health --address /run/optimizerd/http.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if address == "" {
				c, err := o.load(cmd)
				if err != nil {
					return err
				}
				if address, err = healthAddress(c); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			return askHealth(ctx, cmd.OutOrStdout(), address, path)
		},
	}
	c.Flags().StringVar(&address, "address", "", "HOST:PORT or absolute `path` of a unix socket, instead of the configured address")
	c.Flags().BoolVar(&ready, "ready", false, "request /readyz instead: whether every part of the daemon works, including the tunnel")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	return c
}

// healthAddress returns where a daemon with this configuration listens.
func healthAddress(c config.Config) (string, error) {
	_, port, err := net.SplitHostPort(c.HTTP.Listen)
	switch {
	case err != nil:
		return "", fmt.Errorf("http.listen: %w", err)
	case port != "0":
		return c.HTTP.Listen, nil
	case c.Tunnel.Mode == tunnel.External:
		return c.Tunnel.Socket, nil
	}
	return "", errors.New("http.listen has port 0, so only the daemon knows its port; name it with --address")
}

// askHealth gets the path from the daemon at the address, which is HOST:PORT or
// the absolute path of a unix socket, and writes the answer's body to out. Any
// status but 200 is an error.
func askHealth(ctx context.Context, out io.Writer, address, path string) error {
	network := "unix"
	if !filepath.IsAbs(address) {
		network = "tcp"
		var err error
		if address, err = httpapi.LocalAddress(address); err != nil {
			return err
		}
	}
	client := http.Client{Transport: &http.Transport{ // without the environment's proxy
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", address, errors.Unwrap(err))
	}
	defer answer.Body.Close()
	if _, err := io.Copy(out, io.LimitReader(answer.Body, 64<<10)); err != nil {
		return fmt.Errorf("answer of %s: %w", address, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", address, answer.Status)
	}
	return nil
}
