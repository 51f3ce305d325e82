//go:build fleet

package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// The storm of kills: make test-fleet runs a short form, make storm the long one.
var stormFlags = struct {
	jobs, realJobs, seeds *int
	other                 *string
	time                  *time.Duration
	race                  *bool
}{
	jobs:     flag.Int("storm.jobs", 150, "jobs of a storm"),
	realJobs: flag.Int("storm.real", 30, "jobs of the storm with the real codec"),
	seeds:    flag.Int("storm.seeds", 3, "storms, with seeds from -chaos.seed on"),
	other:    flag.String("storm.other", "", "optimizerd of another version, which one of the nodes is"),
	time:     flag.Duration("storm.time", 0, "after those with seeds, storms one after the other for as long"),
	race:     flag.Bool("storm.race", false, "build the nodes with the race detector"),
}

// The times between kills. The next node is killed only once all serve again: a slow
// machine has fewer kills, not fewer starts.
const (
	nodeKills   = 2 * time.Second
	serverKills = 10 * time.Second
)

// storm is a fleet under fire.
type storm struct {
	*arena

	seed     uint64
	jobs     int
	next     atomic.Int64
	accepted map[string]string // receiver's path and job id → name of the image
}

func TestFleetStorm(t *testing.T) {
	t.Parallel()
	first, seeds := daemontest.Seed(t), uint64(*stormFlags.seeds)
	for i := range seeds {
		t.Run(fmt.Sprintf("seed %d", first+i), func(t *testing.T) {
			t.Parallel()
			runStorm(t, first+i, *stormFlags.jobs)
		})
	}
	for i, began := seeds, time.Now(); time.Since(began) < *stormFlags.time && !t.Failed(); i++ {
		t.Run(fmt.Sprintf("seed %d", first+i), func(t *testing.T) { runStorm(t, first+i, *stormFlags.jobs) })
	}
}

func TestFleetStormWithTheRealCodec(t *testing.T) {
	t.Parallel()
	codec, err := daemontest.Codec()
	if err != nil {
		t.Fatal(err)
	}
	runStorm(t, daemontest.Seed(t), *stormFlags.realJobs, "codec.path="+codec, "ladder.formats=webp,jpeg", "ladder.widths=16,32,64")
}

func runStorm(t *testing.T, seed uint64, jobs int, settings ...string) {
	s := &storm{arena: newArena(t, 3), seed: seed, jobs: jobs, accepted: make(map[string]string)}
	for i := range 3 {
		build := daemontest.Optimizerd
		if *stormFlags.race {
			build = daemontest.Racy
		}
		program, err := build()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 && *stormFlags.other != "" {
			program = *stormFlags.other
		}
		s.run(program, settings...)
	}
	awaitServing(t, s.members...)
	watcher := s.observe(t)

	began := time.Now()
	calm := make(chan struct{})
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for n := s.next.Add(1); n <= int64(jobs) && !t.Failed(); n = s.next.Add(1) {
				if err := s.request(rand.New(rand.NewPCG(seed, uint64(n))), int(n)); err != nil {
					t.Errorf("job %d: %v", n, err)
				}
			}
		})
	}
	go func() {
		clients.Wait()
		close(calm)
	}()
	nodes, servers := s.disturb(t, calm)
	took := time.Since(began)
	awaitServing(t, s.members...)
	s.checkWebhooks()
	s.checkHousekeeping(watcher)
	if over := s.proxy.Overwritten(); len(over) != 0 {
		t.Errorf("overwritten: %v", over)
	}
	sets := watcher.check()
	starts := 0
	for _, m := range s.members {
		starts += m.logged(t, "job started")
		if bytes.Contains(daemontest.ReadFile(t, m.log), []byte("WARNING: DATA RACE")) {
			t.Errorf("%s has a data race: its log says where", m.name)
		}
	}
	figure(t, fmt.Sprintf("storm of %d jobs, seed %d", jobs, seed), "%.0f s, %d nodes and %d servers killed", took.Seconds(), nodes, servers)
	figure(t, "  jobs with an id, sets", "%d, %d", len(s.accepted), sets)
	figure(t, "  lost, half visible, overwritten", "0, 0, 0")
	figure(t, "  starts of jobs, jobs given up after three starts", "%d, %d", starts, s.givenUp)
	figure(t, "  answers after which a client tried again", "%v", s.refused)
}

// disturb kills until calm is closed, and returns the numbers of kills.
func (s *storm) disturb(t *testing.T, calm <-chan struct{}) (nodes, servers int) {
	random := rand.New(rand.NewPCG(s.seed, 0))
	nodeTicks, serverTicks := time.NewTicker(nodeKills), time.NewTicker(serverKills)
	defer nodeTicks.Stop()
	defer serverTicks.Stop()
	healthy := make(chan struct{}, 1) // all servers are
	healthy <- struct{}{}
	defer func() { <-healthy }()
	for {
		select {
		case <-calm:
			return nodes, servers
		case <-nodeTicks.C:
			if !slices.ContainsFunc(s.members, func(m *member) bool { return m.serving() == "" }) {
				s.members[random.IntN(len(s.members))].signal(syscall.SIGKILL)
				nodes++
			}
		case <-serverTicks.C:
			select {
			case <-healthy:
			default:
				continue // the last one is not back yet
			}
			victim := s.servers.Servers[random.IntN(len(s.servers.Servers))]
			servers++
			go func() {
				defer func() { healthy <- struct{}{} }()
				victim.Down()
				victim.Up()
			}()
		}
	}
}

// request has one image made, and returns when it is: half of them by upload, and a
// tenth equal to an earlier one.
func (s *storm) request(random *rand.Rand, n int) error {
	image := n
	if n%10 == 0 {
		image = 1 + random.IntN(n)
	}
	name, path := fmt.Sprintf("image-%d", image), fmt.Sprintf("/%d", n)
	byURL, waits := n%2 == 0, n%8 == 1
	for {
		a, err := s.send(random, name, path, byURL, waits)
		if err != nil {
			return err
		}
		switch a.StatusCode {
		case http.StatusOK, http.StatusCreated:
			var m manifest.Manifest
			if err := json.Unmarshal(a.Body, &m); err != nil {
				return err
			}
			return s.checkManifest(m, name)
		case http.StatusAccepted:
		default:
			return fmt.Errorf("got %s %s", a.Status, a.Body)
		}
		id := strings.TrimPrefix(a.Header.Get("Location"), "/jobs/")
		if !waits {
			s.mu.Lock()
			s.accepted[path+" "+id] = name
			s.mu.Unlock()
		}
		again, err := s.follow(random, id, name)
		if err != nil || !again {
			return err
		}
	}
}

// send sends a request to any node until one answers it.
func (s *storm) send(random *rand.Rand, name, path string, byURL, waits bool) (daemontest.Answer, error) {
	return s.insist(random, func(node string) (daemontest.Answer, error) {
		switch hook := s.receiver.URL + path; {
		case byURL:
			return s.try(http.MethodPost, node+"/jobs", fmt.Appendf(nil, `{"input":"%s/%s","webhook_url":%q}`, s.origin.URL, name, hook), daemontest.JSON)
		case waits:
			return s.try(http.MethodPost, node+"/v1/images", s.source(name))
		default:
			return s.try(http.MethodPost, node+"/v1/images?webhook_url="+hook, s.source(name), daemontest.Header("Prefer", "respond-async"))
		}
	})
}

// checkWebhooks waits until every webhook has come, each under one id.
func (s *storm) checkWebhooks() {
	s.t.Helper()
	for key, name := range s.accepted {
		path, id, _ := strings.Cut(key, " ")
		daemontest.Eventually(s.t, fmt.Sprintf("the webhook of job %s (%s) comes", id, name), func() bool {
			times, _ := s.delivered(path, id)
			return times > 0
		})
	}
	s.outside.mu.Lock()
	defer s.outside.mu.Unlock()
	for key, ids := range s.hooks {
		if len(ids) > 1 {
			s.t.Errorf("the webhook of %s was delivered with the ids %v", key, ids)
		}
	}
}

// watcher is a node without work that checks each set the moment it is listed.
type watcher struct {
	t     *testing.T
	fleet *fleet.Fleet
	queue *fleet.Queue
	store *bucket.Store

	listed sync.WaitGroup
	mu     sync.Mutex
	sets   map[string]bool
}

// observe starts an watcher, until the end of the test.
func (s *storm) observe(t *testing.T) *watcher {
	t.Helper()
	o := &watcher{t: t, sets: make(map[string]bool)}
	settings := fleet.DefaultConfig()
	settings.Servers, settings.Node, settings.Work = s.servers.URLs(), "watcher", false
	var err error
	if o.fleet, err = fleet.Open(t.Context(), fleet.Options{Config: settings, Identity: "watcher", MaxPending: config.Default().Queue.MaxPending, Keep: time.Hour, LongestJob: time.Hour, Log: zap.NewNop()}); err != nil {
		t.Fatal(err)
	}
	if o.queue, err = o.fleet.NewQueue(t.Context()); err != nil {
		t.Fatal(err)
	}
	watch := o.fleet.NewIndex()
	err = watch.Load(func(id string, _ time.Time) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.sets[id] {
			return
		}
		o.sets[id] = true
		o.listed.Go(func() {
			if err := setOnDisk(s.store, id); err != nil {
				t.Errorf("a set that is listed: %v", err)
			}
		})
	}, func(id string) { t.Errorf("set %s is gone", id) })
	if err != nil {
		t.Fatal(err)
	}
	objects, err := s3.Open(s3test.Config(s.store.URL), s3test.Key(), func(string, int, time.Duration) {})
	if err != nil {
		t.Fatal(err)
	}
	scratch, err := spool.Open(spool.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if o.store, err = bucket.Open(bucket.Config{Index: o.fleet.NewIndex()}, objects, scratch, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.listed.Wait()
		if err := errors.Join(watch.Close(), o.store.Close(), o.queue.Unlock()); err != nil {
			t.Error(err)
		}
	})
	return o
}

// check checks all sets again, and returns their number.
func (o *watcher) check() int {
	o.listed.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.sets)
}

// checkHousekeeping does the housekeeping of a day later, and checks what is left.
func (s *storm) checkHousekeeping(o *watcher) {
	s.t.Helper()
	daemontest.Eventually(s.t, "no job waits", func() bool { return len(s.servers.Subjects(s.t, fleettest.Work)) == 0 })
	for _, m := range s.members { // which leave the housekeeping to the watcher
		m.stop(syscall.SIGTERM)
	}
	daemontest.Eventually(s.t, "the watcher does the housekeeping", o.fleet.Elected)
	later := time.Now().Add(25 * time.Hour)
	if err := o.queue.Prune(later); err != nil {
		s.t.Error(err)
	}
	bucket.Uploads{Store: o.store}.Sweep(o.queue.Unended, later)
	claims := func() (left []string) {
		for _, subject := range s.servers.Subjects(s.t, fleettest.State) {
			if strings.Contains(subject, ".claim.") {
				left = append(left, subject)
			}
		}
		return left
	}
	if left := claims(); len(left) > 0 {
		s.t.Errorf("claims are left: %v", left)
	}
	daemontest.Eventually(s.t, "no source is left", func() bool {
		return !slices.ContainsFunc(objects(s.t, s.store), func(key string) bool { return strings.HasPrefix(key, "sources/") })
	})
}
