//go:build fleet

package daemon_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// What a fleet costs and gives. Only what a user would notice is asserted: all jobs
// are done. make storm has the figures.

var figures = struct {
	nodes    *string
	perNode  *int
	overhead *int
}{
	nodes:    flag.String("storm.nodes", "1,2", "sizes of fleets whose throughput is measured"),
	perNode:  flag.Int("storm.per-node", 4, "jobs for each of their nodes"),
	overhead: flag.Int("storm.overhead", 10, "jobs whose processor time is measured"),
}

// submitAll requests images by upload, of several clients, and returns the jobs.
func (s *arena) submitAll(m *member, names []string) map[string]string {
	s.t.Helper()
	var mu sync.Mutex
	var clients sync.WaitGroup
	jobs := make(map[string]string)
	work := make(chan string)
	for range 8 {
		clients.Go(func() {
			for name := range work {
				a, err := s.try(http.MethodPost, m.serving()+"/v1/images", s.source(name), daemontest.Header("Prefer", "respond-async"))
				if err != nil || a.StatusCode != http.StatusAccepted {
					s.t.Errorf("%s: %v, %s", name, err, a.Status)
					continue
				}
				mu.Lock()
				jobs[strings.TrimPrefix(a.Header.Get("Location"), "/jobs/")] = name
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		work <- name
	}
	close(work)
	clients.Wait()
	return jobs
}

// named returns n names of images.
func named(format string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf(format, i))
	}
	return names
}

func TestFleetThroughputGrowsWithItsNodes(t *testing.T) {
	var alone time.Duration
	for text := range strings.SplitSeq(*figures.nodes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		took := throughput(t, n, n**figures.perNode)
		if alone == 0 {
			alone = took
		}
		figure(t, fmt.Sprintf("%d nodes, %d images of 250 ms for each", n, *figures.perNode), "%.2f s, %.3f of what is possible", took.Seconds(), alone.Seconds()/took.Seconds())
	}
}

// throughput returns how long n nodes take for jobs that wait when they begin.
func throughput(t *testing.T, n, jobs int) time.Duration {
	s := newArena(t, 1)
	front := s.join("fleet.work=false", "queue.max_pending=1000")
	for range n {
		s.join("queue.max_pending=1000", "ladder.widths=16")
	}
	awaitServing(t, s.members...)
	all := s.submitAll(front, named("before-%d sleep:4s", n)) // keeps each node busy until all jobs wait
	daemontest.Eventually(t, "all nodes are busy", func() bool { return len(s.logTimes("job started", all)) == n })
	measured := s.submitAll(front, named("image-%d sleep:250ms", jobs))
	s.completes(measured)
	began, ended := s.logTimes("job started", measured), s.logTimes("job ended", measured)
	for _, m := range s.members {
		m.stop(syscall.SIGKILL)
	}
	return ended[len(ended)-1].Sub(began[0])
}

// logTimes returns the times of the nodes' log lines with this message about the
// jobs, earliest first.
func (s *arena) logTimes(message string, jobs map[string]string) (times []time.Time) {
	s.t.Helper()
	for _, m := range s.members {
		for line := range strings.Lines(string(daemontest.ReadFile(s.t, m.log))) {
			var entry struct {
				Msg  string
				Time time.Time
				Job  string `json:"job_id"`
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == message && jobs[entry.Job] != "" {
				times = append(times, entry.Time)
			}
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

func TestFleetOverheadOfAJob(t *testing.T) {
	n := *figures.overhead
	s := newArena(t, 3)
	node := s.join("ladder.widths=16", "queue.max_pending=1000")
	awaitServing(t, node)
	s.completes(s.submitAll(node, named("first-%d", 5))) // what is loaded once does not count
	inFleet, servers := processorTime(t, node.pid()), s.serversTime()
	s.completes(s.submitAll(node, named("image-%d", n)))
	perJob := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(n) }
	inFleet, servers = processorTime(t, node.pid())-inFleet, s.serversTime()-servers
	node.stop(syscall.SIGTERM)

	alone := s.join("ladder.widths=16", "queue.max_pending=1000", "fleet.servers=")
	awaitServing(t, alone)
	s.members = []*member{alone}
	s.completes(s.submitAll(alone, named("second-%d", 5)))
	bucket := processorTime(t, alone.pid())
	s.completes(s.submitAll(alone, named("other-%d", n)))
	bucket = processorTime(t, alone.pid()) - bucket
	figure(t, fmt.Sprintf("processor time of a job, %d uploads, of a node", n), "%.1f ms; %.1f ms with the bucket alone", perJob(inFleet), perJob(bucket))
	figure(t, "  of each of three servers, synced always", "%.1f ms", perJob(servers)/3)
}

// What of a job's processor time is the fleet's is mostly one thing: requests to NATS.
func TestFleetRequestsOfAJob(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	node := s.join()
	awaitServing(t, node)
	for _, hook := range []bool{false, true} {
		name, target := "image", "/v1/images"
		if hook {
			name, target = "image with a webhook", "/v1/images?webhook_url="+s.receiver.URL+"/"
		}
		ended := node.logged(t, "source deleted")
		count := s.servers.Count(t)
		a, err := s.try(http.MethodPost, node.serving()+target, s.source(name), daemontest.Header("Prefer", "respond-async"))
		if err != nil || a.StatusCode != http.StatusAccepted {
			t.Fatalf("%v, %s", err, a.Status)
		}
		daemontest.Eventually(t, "the job has ended", func() bool { return node.logged(t, "source deleted") > ended })
		figure(t, "requests to NATS for an upload, "+name, "%v", count.So())
	}
}

// An upload whose client waits is held by the node that has a free worker: NATS hears of
// it as its set is published.
func TestFleetUploadThatIsWaitedFor(t *testing.T) {
	s := newArena(t, 3)
	node, alone := s.join("ladder.widths=16"), s.join("ladder.widths=16", "fleet.servers=")
	awaitServing(t, node, alone)
	median := func(m *member) time.Duration {
		var took []time.Duration
		for i := range *figures.overhead {
			began := time.Now()
			s.made(m, fmt.Sprintf("%s-%d", m.name, i))
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	inFleet, bucket := median(node), median(alone)
	figure(t, fmt.Sprintf("an upload whose client waits, median of %d", *figures.overhead), "%.1f ms; %.1f ms with the bucket alone", inFleet.Seconds()*1000, bucket.Seconds()*1000)
}

func TestFleetMemoryOfAnIdleNode(t *testing.T) {
	const sets = 1000
	s := newArena(t, 3)
	settings := fleet.DefaultConfig()
	settings.Servers = s.servers.URLs()
	f, err := fleet.Connect(t.Context(), fleet.Options{Config: settings, MaxPending: config.Default().Queue.MaxPending, Keep: time.Hour, LongestJob: time.Hour, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	index := f.NewIndex()
	for i := range sets {
		if err := index.Commit(manifest.Manifest{ID: strings.Map(toID, fmt.Sprintf("%026d", i)), CreatedAt: strictjson.At(time.Now())}, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	node := s.join("log.level=info")
	awaitServing(t, node)
	p, err := procfs.NewProc(node.pid())
	if err != nil {
		t.Fatal(err)
	}
	var resident float64
	daemontest.Eventually(t, "it takes 25 MiB or less", func() bool { // it gives back what only its start needed
		status, err := p.NewStatus()
		resident = float64(status.VmRSS) / (1 << 20)
		return err == nil && resident <= 25
	})
	figure(t, fmt.Sprintf("resident memory of a node that has started, %d sets, three servers", sets), "%.1f MiB", resident)
}

// toID maps digits to letters of ids.
func toID(digit rune) rune { return 'a' + digit - '0' }

// processorTime returns the user and system time of a process so far.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	p, err := procfs.NewProc(pid)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := p.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(stat.CPUTime() * float64(time.Second))
}

func (s *arena) serversTime() (sum time.Duration) {
	for _, server := range s.servers.Servers {
		sum += processorTime(s.t, server.Pid())
	}
	return sum
}

func TestFleetLeaderIsKilledUnderLoad(t *testing.T) {
	s := newArena(t, 3)
	first, second := s.join(), s.join()
	awaitServing(t, first, second)
	const n = 60
	var mu sync.Mutex
	jobs := make(map[string]string)
	var accepted []time.Time
	var clients sync.WaitGroup
	killed := make(chan struct{})
	for c := range 4 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(c)))
			for i := range n / 4 {
				name := fmt.Sprintf("image-%d-%d", c, i)
				a, err := s.insist(random, func(node string) (daemontest.Answer, error) {
					return s.try(http.MethodPost, node+"/v1/images", s.source(name), daemontest.Header("Prefer", "respond-async"))
				})
				if err != nil || a.StatusCode/100 != 2 {
					t.Errorf("%s: %v, %s %s", name, err, a.Status, a.Body)
					continue
				}
				mu.Lock()
				accepted = append(accepted, time.Now())
				if a.StatusCode == http.StatusAccepted {
					jobs[strings.TrimPrefix(a.Header.Get("Location"), "/jobs/")] = name
				}
				if len(accepted) == n/3 {
					close(killed)
				}
				mu.Unlock()
			}
		})
	}
	<-killed
	leader := s.servers.Leader(t, fleettest.Jobs)
	leader.Down()
	clients.Wait()
	s.completes(jobs)
	var longest time.Duration
	for i := range accepted[1:] {
		longest = max(longest, accepted[i+1].Sub(accepted[i]))
	}
	figure(t, "the leader of the jobs is killed under load: accepting stood still for", "%.1f s", longest.Seconds())
}
