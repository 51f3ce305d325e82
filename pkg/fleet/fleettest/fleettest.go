// Package fleettest runs real NATS servers for tests, alone or as a cluster.
package fleettest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/servertest"
)

// Cluster is one server or several.
type Cluster struct {
	Servers []*Server
}

// Server is a running nats-server.
type Server struct {
	*servertest.Process

	Name, URL string
}

// Start runs n servers with JetStream in temporary directories until the test ends.
// Their program must have been built before.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	c := new(Cluster)
	var routes []string
	for range n {
		routes = append(routes, "nats://"+servertest.FreeAddress(t))
	}
	for i := range n {
		dir := t.TempDir()
		client, monitor, config := servertest.FreeAddress(t), servertest.FreeAddress(t), filepath.Join(dir, "nats.conf")
		var text strings.Builder
		fmt.Fprintf(&text, "server_name: s%d\nlisten: %q\nhttp: %q\njetstream { store_dir: %q, sync_interval: always }\n",
			i+1, client, monitor, filepath.Join(dir, "jetstream"))
		if n > 1 {
			fmt.Fprintf(&text, "cluster { name: test, listen: %q, routes: [%s] }\n", strings.TrimPrefix(routes[i], "nats://"), strings.Join(routes, ", "))
		}
		if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		s := &Server{servertest.New(t, "nats-server", "http://"+monitor+"/healthz", "--config", config), fmt.Sprintf("s%d", i+1), "nats://" + client}
		c.Servers = append(c.Servers, s)
		s.Start()
	}
	for _, s := range c.Servers {
		s.AwaitReady()
	}
	return c
}

// StartPlain runs a server without JetStream until the test ends, and returns its URL.
func StartPlain(t testing.TB) string {
	t.Helper()
	client, monitor := servertest.FreeAddress(t), servertest.FreeAddress(t)
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, "listen: %q\nhttp: %q\n", client, monitor), 0o600); err != nil {
		t.Fatal(err)
	}
	p := servertest.New(t, "nats-server", "http://"+monitor+"/healthz", "--config", config)
	p.Up()
	return "nats://" + client
}

// URLs returns the URLs of all servers.
func (c *Cluster) URLs() (urls []string) {
	for _, s := range c.Servers {
		urls = append(urls, s.URL)
	}
	return urls
}
