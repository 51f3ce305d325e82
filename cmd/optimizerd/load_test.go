package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/optimizerd/optimizerd/pkg/job"
)

// shortLoad is what every go test queues; scripts/load queues more.
const shortLoad = 80

var queued = flag.Int("queued", shortLoad, "how many jobs TestQueuedJobsAreDoneAndAnnouncedOnceEach queues")

// The targets of the long form.
const (
	mostGrowth      = 50e6 // of the resident memory, bytes
	longestRecovery = 10 * time.Second
)

func TestQueuedJobsAreDoneAndAnnouncedOnceEach(t *testing.T) {
	n := *queued
	l := newLoad(t)
	s, empty := l.serve()
	l.post(s, 0) // so that what a daemon loads once does not count as the jobs'
	l.delivered(1)
	before := l.resident(s)
	slow := l.admit(s, 1, n/2)
	fast := l.admit(s, 8, n-n/2)
	growth := l.resident(s) - before

	l.stop(s)
	if ended := len(l.records("queue/done")); ended != 1 {
		t.Fatalf("%d jobs have ended while the origin gave nothing", ended-1)
	}
	s, full := l.serve()
	recovered := l.resident(s)
	began := time.Now()
	close(l.gate)
	l.delivered(1 + n/2)
	l.stop(s) // in the middle of the work
	middle := len(l.records("queue/pending"))
	s, _ = l.serve()
	l.delivered(1 + n)
	took := time.Since(began)
	l.stop(s)
	lost, twice := l.check()

	figure(t, "jobs queued", "%d", n)
	for _, f := range []struct {
		clients string
		waits   []time.Duration
	}{{"1 client", slow}, {"8 clients", fast}} {
		slices.Sort(f.waits)
		figure(t, "POST /jobs, "+f.clients+": median, 99 %", "%v, %v", rounded(f.waits[len(f.waits)/2]), rounded(f.waits[len(f.waits)*99/100]))
	}
	figure(t, "resident memory: before, growth", "%.1f MB, %.1f MB", float64(before)/1e6, float64(growth)/1e6)
	figure(t, "from exec to ready: nothing queued, all queued", "%v, %v", rounded(empty), rounded(full))
	figure(t, "resident memory after that start", "%.1f MB", float64(recovered)/1e6)
	figure(t, "until all webhooks are delivered, with another restart", "%v", rounded(took))
	figure(t, "  … at which so many were pending", "%d", middle)
	figure(t, "requests to the origin", "%d", l.fetches.Load())
	figure(t, "jobs lost, delivered twice", "%d, %d", lost, twice)
	if n == shortLoad {
		return // of a few nothing is claimed
	}
	if growth > mostGrowth || full > longestRecovery {
		t.Errorf("memory grew by %d bytes, and the start took %v; want at most %d and %v", growth, full, int(mostGrowth), longestRecovery)
	}
}

func rounded(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// load is a data folder with an origin that gives its images when it may, and
// a receiver.
type load struct {
	t        *testing.T
	dir      string
	origin   *httptest.Server
	receiver *httptest.Server
	gate     chan struct{} // closed when the origin may give images
	fetches  atomic.Int64
	seeds    atomic.Uint64 // of the images asked for; that of seed 0 needs no gate

	mu    sync.Mutex
	jobs  map[string]bool // that were accepted
	times map[string]int  // webhooks, by their id
	news  chan struct{}   // capacity 1: times has changed
}

func newLoad(t *testing.T) *load {
	l := &load{
		t: t, dir: t.TempDir(), gate: make(chan struct{}),
		jobs: make(map[string]bool), times: make(map[string]int), news: make(chan struct{}, 1),
	}
	l.origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.fetches.Add(1)
		var seed uint64
		if _, err := fmt.Sscanf(r.URL.Path, "/%d.jpg", &seed); err != nil {
			t.Errorf("GET %s: %v", r.URL.Path, err)
		}
		if seed > 0 {
			w.(http.Flusher).Flush() // an answer, of which the body takes its time
			select {
			case <-l.gate:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = w.Write(speck(t, seed)) // to a daemon that may be stopping
	}))
	t.Cleanup(l.origin.Close)
	l.receiver = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.times[r.Header.Get("webhook-id")]++
		l.mu.Unlock()
		select {
		case l.news <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(l.receiver.Close)
	return l
}

// serve starts a daemon, and returns how long it took to be ready.
func (l *load) serve() (*server, time.Duration) {
	l.t.Helper()
	began := time.Now()
	s := serve(l.t, l.dir, fmt.Sprintf("queue.max_pending=%d", *queued*4/3+4), "fetch.allow_private=true", "fetch.timeout=1h",
		"webhook.secrets_file="+tokenFile(l.t, "whsec_TmV3IHNlY3JldCwgMzIgYnl0ZXMgbG9uZywgb2theSE="),
		"ladder.widths=64", "ladder.formats=jpeg", "storage.min_free=1", "log.level=warn")
	var health struct{ Status string }
	if answer := s.do(l.t, http.MethodGet, "/readyz", nil, nil, &health); answer.StatusCode != http.StatusOK {
		l.t.Fatalf("it is not ready: %s", answer.Status)
	}
	return s, time.Since(began)
}

// post sends a job for an image: every other is for a single variant.
func (l *load) post(s *server, seed uint64) {
	var j jobAnswer
	options := [2]string{`{}`, `{"width":40,"format":"jpeg"}`}[seed%2]
	body := fmt.Sprintf(`{"input":"%s/%d.jpg","options":%s,"webhook_url":%q}`, l.origin.URL, seed, options, l.receiver.URL)
	answer := s.do(l.t, http.MethodPost, "/jobs", []byte(body), map[string]string{"Content-Type": "application/json"}, &j)
	l.mu.Lock()
	defer l.mu.Unlock()
	if answer.StatusCode != http.StatusAccepted || l.jobs[j.ID] {
		l.t.Errorf("job %d: %s %s", seed, answer.Status, j.ID)
	}
	l.jobs[j.ID] = true
}

// admit has so many clients send n jobs, and returns how long each took.
func (l *load) admit(s *server, clients, n int) []time.Duration {
	var waits []time.Duration
	var mu sync.Mutex
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for range (n + c) / clients {
				began := time.Now()
				l.post(s, l.seeds.Add(1))
				took := time.Since(began)
				mu.Lock()
				waits = append(waits, took)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return waits
}

// delivered waits until webhooks have reported n jobs. The limit only keeps a
// failure from hanging.
func (l *load) delivered(n int) {
	l.t.Helper()
	late := time.After(5*time.Minute + time.Duration(n)*100*time.Millisecond)
	for {
		l.mu.Lock()
		got := len(l.times)
		l.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-l.news:
		case <-late:
			l.t.Fatalf("%d jobs were reported, want %d", got, n)
		}
	}
}

// stop is a stop in order.
func (l *load) stop(s *server) {
	l.t.Helper()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		l.t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		l.t.Fatalf("the daemon ended with %v", err)
	}
}

func (l *load) resident(s *server) int {
	l.t.Helper()
	p, err := procfs.NewProc(s.Process.Pid)
	if err != nil {
		l.t.Fatal(err)
	}
	stat, err := p.Stat()
	if err != nil {
		l.t.Fatal(err)
	}
	return stat.ResidentMemory()
}

// records are the files in a folder of the data.
func (l *load) records(folder string) []string {
	l.t.Helper()
	entries, err := os.ReadDir(filepath.Join(l.dir, folder))
	if err != nil {
		l.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// check holds what is left against what was promised, after the last stop.
func (l *load) check() (lost, twice int) {
	l.t.Helper()
	for _, folder := range []string{"spool", "queue/pending", "queue/running", "queue/failed", "outbox", "outbox/failed"} {
		if left := l.records(folder); len(left) > 0 {
			l.t.Errorf("%s holds %d files, the first is %s", folder, len(left), left[0])
		}
	}
	done := make(map[string]bool)
	for _, name := range l.records("queue/done") {
		id := strings.TrimSuffix(name, ".json")
		j, err := job.Decode(read(l.t, filepath.Join(l.dir, "queue/done", name)))
		if err != nil || j.ID != id || j.Status != job.Completed || !l.jobs[id] {
			l.t.Errorf("the record of %s (accepted: %v) says %s %s: %v", id, l.jobs[id], j.ID, j.Status, err)
		}
		done[id] = true
	}
	for id := range l.jobs {
		times := l.times[strings.Replace(id, "job_", "msg_", 1)]
		if !done[id] || times == 0 {
			lost++
		}
		if times > 1 {
			twice++
		}
	}
	if lost > 0 || twice > 0 || len(l.times) != len(l.jobs) {
		l.t.Errorf("of %d jobs %d are lost and %d were delivered twice; %d webhooks came", len(l.jobs), lost, twice, len(l.times))
	}
	return lost, twice
}
