//go:build fleet

package daemon_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// inFleet has a daemon be a node of the fleet on these servers.
func inFleet(name string, servers *fleettest.Cluster, store string) func(*config.Config) {
	return func(c *config.Config) {
		key := s3test.Key()
		c.Storage.S3, c.Storage.S3Key = s3test.Config(store), &key
		c.Fleet.Servers, c.Fleet.Node, c.Fleet.Replicas = servers.URLs(), name, replicas(servers)
		c.Fleet.Lease = 10 * time.Second
		c.Codec.Processes = 1
	}
}

func replicas(servers *fleettest.Cluster) int {
	if len(servers.Servers) < 3 {
		return 1
	}
	return 3
}

// startNodes starts so many daemons that share the servers and the store.
func startNodes(t *testing.T, n int, servers *fleettest.Cluster, store string, changes ...func(*config.Config)) (nodes []*daemontest.Server) {
	t.Helper()
	for i := range n {
		nodes = append(nodes, daemontest.Start(t, append([]func(*config.Config){inFleet(fmt.Sprintf("node-%d", i+1), servers, store)}, changes...)...))
	}
	return nodes
}

// nodeSettings are those of a node that is a process of its own.
func nodeSettings(t *testing.T, name string, servers *fleettest.Cluster, store string) []string {
	t.Helper()
	return []string{
		"ladder.widths=64,128", "codec.processes=1", "storage.s3.endpoint=" + store, "storage.s3.bucket=" + s3test.BucketName,
		"storage.s3.region=us-east-1", "storage.s3.key_file=" + s3test.KeyFile(t),
		"fleet.servers=" + strings.Join(servers.URLs(), ","), "fleet.node=" + name,
		fmt.Sprintf("fleet.replicas=%d", replicas(servers)), "fleet.lease=10s",
	}
}

func TestFleetNodesAnswerForEachOther(t *testing.T) {
	t.Parallel()
	store := s3test.Start(t)
	proxy := s3test.NewProxy(t, store)
	nodes := startNodes(t, 3, fleettest.Start(t, 1), proxy.URL)
	for i, s := range nodes {
		source := daemontest.SmallJPEG(t, uint64(i))
		j := s.Submit(source)
		for _, other := range nodes {
			if ended := other.AwaitJob(j.ID); ended.Status != "completed" {
				t.Fatalf("job %s: %s, %v", j.ID, ended.Status, ended.Error)
			}
			a := other.Upload(source)
			if _, err := other.CheckSet(a, source); err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("the same upload at another node: %s, %v", a.Status, err)
			}
		}
		waited := s.Upload(daemontest.SmallJPEG(t, uint64(100+i)))
		var m manifest.Manifest
		waited.Decode(t, &m, http.StatusCreated)
		for _, other := range nodes {
			if got := other.Get("/v1/images/" + m.ID); got.StatusCode != http.StatusOK {
				t.Errorf("the set at another node: %s", got.Status)
			}
		}
	}
	var m manifest.Manifest
	nodes[0].Upload(daemontest.SmallJPEG(t, 0)).Decode(t, &m, http.StatusOK)
	if err := nodes[1].Delete(m.ID); err != nil {
		t.Fatal(err)
	}
	daemontest.Eventually(t, "the set is gone everywhere", func() bool {
		return !slices.ContainsFunc(nodes, func(s *daemontest.Server) bool { return s.Get("/v1/images/"+m.ID).StatusCode != http.StatusNotFound })
	})
	if over := proxy.Overwritten(); len(over) != 0 {
		t.Errorf("overwritten: %v", over)
	}
	daemontest.Eventually(t, "no source is left in the bucket", func() bool {
		return !slices.ContainsFunc(objects(t, store), func(key string) bool { return strings.HasPrefix(key, "sources/") })
	})
}

func TestFleetEqualUploadsAreMadeOnce(t *testing.T) {
	t.Parallel()
	store := s3test.Start(t)
	nodes := startNodes(t, 2, fleettest.Start(t, 1), store.URL)
	thawed := make([]func(), len(nodes))
	for i, s := range nodes {
		_, thawed[i] = s.Freeze()
	}
	source := daemontest.SmallJPEG(t, 1)
	first := nodes[0].Submit(source)
	second := nodes[1].Submit(source)
	if first.ID != second.ID {
		t.Errorf("equal uploads are the jobs %s and %s", first.ID, second.ID)
	}
	for _, thaw := range thawed {
		thaw()
	}
	for _, s := range nodes {
		if j := s.AwaitJob(first.ID); j.Status != "completed" {
			t.Errorf("job: %s, %v", j.Status, j.Error)
		}
	}
}

func TestFleetKilledNodesJobsAreDoneByAnother(t *testing.T) {
	t.Parallel()
	store := s3test.Start(t)
	servers := fleettest.Start(t, 1)
	victim := daemontest.StartProcess(t, nodeSettings(t, "victim", servers, store.URL)...)
	var ids []string
	for i := range 12 {
		ids = append(ids, victim.Submit(daemontest.SmallJPEG(t, uint64(i))).ID)
	}
	victim.Kill()
	<-victim.Ended
	heir := daemontest.Start(t, inFleet("heir", servers, store.URL))
	for i, id := range ids {
		if j := heir.AwaitJob(id); j.Status != "completed" {
			t.Errorf("job %d: %s, %v", i, j.Status, j.Error)
		}
		source := daemontest.SmallJPEG(t, uint64(i))
		a := heir.Upload(source)
		if _, err := heir.CheckSet(a, source); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("upload %d: %s, %v", i, a.Status, err)
		}
	}
}

func TestFleetServersThatRestartLoseNothing(t *testing.T) {
	t.Parallel()
	store := s3test.Start(t)
	servers := fleettest.Start(t, 1)
	nodes := startNodes(t, 2, servers, store.URL)
	var ids []string
	for i := range 10 {
		ids = append(ids, nodes[i%2].Submit(daemontest.SmallJPEG(t, uint64(i))).ID)
	}
	servers.Servers[0].Down()
	daemontest.Eventually(t, "uploads are refused", func() bool {
		a := nodes[0].Upload(daemontest.SmallJPEG(t, 99))
		return a.StatusCode == http.StatusServiceUnavailable && a.Code() == string(fault.Unavailable) && a.Header.Get("Retry-After") != ""
	})
	if a := nodes[0].Get("/readyz"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(a.Body), `"fleet":{"status":"not_ready"`) {
		t.Errorf("readiness: %s %s", a.Status, a.Body)
	}
	servers.Servers[0].Up()
	for _, s := range nodes {
		awaitReady(s)
	}
	for _, id := range ids {
		if j := nodes[0].AwaitJob(id); j.Status != "completed" {
			t.Errorf("job %s: %s, %v", id, j.Status, j.Error)
		}
	}
}

func TestFleetServersSurviveTheLossOfOne(t *testing.T) {
	t.Parallel()
	store := s3test.Start(t)
	servers := fleettest.Start(t, 3)
	nodes := startNodes(t, 3, servers, store.URL)
	var mu sync.Mutex
	var ids []string
	accepted := 0
	var clients sync.WaitGroup
	for n, s := range nodes {
		clients.Go(func() {
			for i := range 8 {
				for {
					a, err := s.TryUpload(daemontest.SmallJPEG(t, uint64(100*n+i)), daemontest.Header("Prefer", "respond-async"))
					if err == nil && a.StatusCode == http.StatusServiceUnavailable {
						awaitReady(s)
						continue
					}
					if err != nil || a.StatusCode != http.StatusAccepted && a.StatusCode != http.StatusOK {
						t.Errorf("upload: %v, %s", err, a.Body)
						return
					}
					mu.Lock()
					if a.StatusCode == http.StatusAccepted { // 200: an attempt that was refused has made it
						ids = append(ids, strings.TrimPrefix(a.Header.Get("Location"), "/jobs/"))
					}
					if accepted++; accepted == 8 {
						servers.Servers[1].Down()
					}
					mu.Unlock()
					break
				}
			}
		})
	}
	clients.Wait()
	for _, id := range ids {
		if j := nodes[0].AwaitJob(id); j.Status != "completed" {
			t.Errorf("job %s: %s, %v", id, j.Status, j.Error)
		}
	}
}

func TestFleetStartSaysWhatIsNotSupported(t *testing.T) {
	t.Parallel()
	store := s3test.Start(t)
	servers := fleettest.Start(t, 1)
	daemontest.Start(t, inFleet("taken", servers, store.URL))
	plain := fleettest.StartPlain(t)
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"replicas":  {func(c *config.Config) { c.Fleet.Name, c.Fleet.Replicas = "other", 3 }, "fleet.replicas"},
		"node":      {func(*config.Config) {}, "fleet.node: taken is taken by a node that was seen"},
		"servers":   {func(c *config.Config) { c.Fleet.Servers = []string{"nats://127.0.0.1:1"} }, "fleet.servers"},
		"jetstream": {func(c *config.Config) { c.Fleet.Servers = []string{plain} }, "JetStream is not enabled; add jetstream {} to its configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			err := daemontest.Prepare(t, inFleet("taken", servers, store.URL), c.change).Launch()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
