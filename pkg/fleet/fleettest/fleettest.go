// Package fleettest runs real NATS servers for tests, alone or as a cluster.
package fleettest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/optimizerd/optimizerd/pkg/servertest"
)

// Cluster is one server or several.
type Cluster struct {
	Servers []*Server

	links map[[2]int]*Link // from server to server, if the network between them can be cut
}

// Server is a running nats-server.
type Server struct {
	*servertest.Process

	Name, URL string
}

// Start runs n servers with JetStream in temporary directories until the test ends.
// Their binary must have been built.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	return start(t, n, false)
}

// StartLinked is Start for servers whose network Isolate can cut.
func StartLinked(t testing.TB, n int) *Cluster {
	t.Helper()
	return start(t, n, true)
}

func start(t testing.TB, n int, linked bool) *Cluster {
	t.Helper()
	c := &Cluster{links: make(map[[2]int]*Link)}
	var addresses []string
	for range n {
		addresses = append(addresses, servertest.FreeAddress(t))
	}
	for i := range n {
		var routes []string
		for j := range n {
			route := addresses[j]
			if linked && i != j {
				c.links[[2]int{i, j}] = newLink(t, addresses[j])
				route = c.links[[2]int{i, j}].address()
			}
			routes = append(routes, "nats://"+route)
		}
		dir := t.TempDir()
		client, monitor, config := servertest.FreeAddress(t), servertest.FreeAddress(t), filepath.Join(dir, "nats.conf")
		var text strings.Builder
		fmt.Fprintf(&text, "server_name: s%d\nlisten: %q\nhttp: %q\njetstream { store_dir: %q, sync_interval: always }\n",
			i+1, client, monitor, filepath.Join(dir, "jetstream"))
		if n > 1 {
			advertised := addresses[i]
			if linked {
				advertised = nowhere // others would bypass the links
			}
			fmt.Fprintf(&text, "cluster { name: test, listen: %q, advertise: %q, routes: [%s] }\n", addresses[i], advertised, strings.Join(routes, ", "))
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
	if n > 1 {
		c.awaitPlacement(t)
	}
	return c
}

// awaitPlacement returns when a stream can be stored on all servers: each is ready
// before their leader has heard from all of them.
func (c *Cluster) awaitPlacement(t testing.TB) {
	t.Helper()
	nc, js := c.connect(t)
	defer nc.Close()
	var err error
	// The servers send no notification. The limit only keeps a failure from hanging.
	for limit := time.Now().Add(3 * time.Minute); time.Now().Before(limit); time.Sleep(50 * time.Millisecond) {
		const probe = "probe"
		if _, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: probe, Replicas: len(c.Servers)}); err == nil {
			err = js.DeleteStream(t.Context(), probe)
		}
		if err == nil {
			return
		}
	}
	t.Fatalf("no stream can be stored on all servers: %v", err)
}

// nowhere is an address at which nothing listens.
const nowhere = "127.0.0.1:1"

// Isolate cuts the network between a server of StartLinked and the others, until the
// returned function is called.
func (c *Cluster) Isolate(server int) (restore func()) {
	var cut []*Link
	for ends, l := range c.links {
		if ends[0] == server || ends[1] == server {
			cut = append(cut, l)
			l.Cut()
		}
	}
	return func() {
		for _, l := range cut {
			l.Restore()
		}
	}
}

// StartPlain runs a server without JetStream until the test ends, and returns its URL.
func StartPlain(t testing.TB) string {
	t.Helper()
	address := servertest.FreeAddress(t)
	startWith(t, address, "")
	return "nats://" + address
}

// StartTLS runs a server that speaks TLS until the test ends.
func StartTLS(t testing.TB, address, certificate, key string) {
	t.Helper()
	startWith(t, address, fmt.Sprintf("jetstream { store_dir: %q }\ntls { cert_file: %q, key_file: %q }\n", t.TempDir(), certificate, key))
}

// startWith runs a server with this configuration besides its addresses.
func startWith(t testing.TB, client, configuration string) {
	t.Helper()
	monitor := servertest.FreeAddress(t)
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, "listen: %q\nhttp: %q\n%s", client, monitor, configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	servertest.New(t, "nats-server", "http://"+monitor+"/healthz", "--config", config).Up()
}

// URLs returns the URLs of all servers.
func (c *Cluster) URLs() (urls []string) {
	for _, s := range c.Servers {
		urls = append(urls, s.URL)
	}
	return urls
}
