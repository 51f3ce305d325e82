//go:build fleet

package daemon_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// Single disturbances of a fleet.

var (
	rounds  = flag.Int("storm.rounds", 12, "rounds of a set that is deleted and made at once")
	ladders = flag.Int("storm.ladders", 20, "ladders that wait while single variants are requested")
	singles = flag.Int("storm.singles", 1, "of them")
)

// async requests an image by upload at a node, and returns the job's id.
func (s *arena) async(m *member, name string) (id string) {
	s.t.Helper()
	a, err := s.try(http.MethodPost, m.serving()+"/v1/images", s.source(name), daemontest.Header("Prefer", "respond-async"))
	if err != nil {
		s.t.Fatal(err)
	}
	return a.Job(s.t, http.StatusAccepted).ID
}

// made uploads an image that is new, and returns its manifest.
func (s *arena) made(m *member, name string) manifest.Manifest {
	s.t.Helper()
	a, err := s.try(http.MethodPost, m.serving()+"/v1/images", s.source(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return a.Manifest(s.t, http.StatusCreated)
}

// completes waits until all jobs have ended, and checks their sets. jobs maps ids to
// names of images.
func (s *arena) completes(jobs map[string]string) {
	s.t.Helper()
	for id, name := range jobs {
		if again, err := s.follow(rand.New(rand.NewPCG(1, 1)), id, name); err != nil || again {
			s.t.Errorf("job %s (%s): %v, given up: %v", id, name, err, again)
		}
	}
}

func (s *arena) job(m *member, id string) (j jobNews) {
	s.t.Helper()
	a, err := s.try(http.MethodGet, m.serving()+"/jobs/"+id, nil)
	if err == nil {
		err = json.Unmarshal(a.Body, &j)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return j
}

// holdPuts has the store take no object whose key ends so, until release is called.
// Then it cuts off the requests that it has held. reached is closed with the first.
func (s *arena) holdPuts(suffix string) (reached <-chan struct{}, release func()) {
	first, released := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(first) })
	s.proxy.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, suffix) {
			once()
			<-released
			s3test.HangUp()
		}
		return false
	})
	release = sync.OnceFunc(func() {
		s.proxy.Intercept(nil)
		close(released)
	})
	s.t.Cleanup(release)
	return first, release
}

func TestFleetMessagesThatAreLostComeAgain(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	first, second := s.join(), s.join()
	awaitServing(t, first, second)
	jobs := make(map[string]string)
	for i := range 40 {
		name := fmt.Sprintf("image-%d sleep:20ms", i)
		jobs[s.async(s.members[i%2], name)] = name
	}
	s.servers.Purge(t, fleettest.Work)
	second.signal(syscall.SIGKILL) // a node that starts does a round of the housekeeping
	daemontest.Eventually(t, "it is started again", func() bool { return second.serving() != "" })
	s.completes(jobs)
}

func TestFleetNodeThatStopsReturnsItsJobs(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	const untilTheEnd = "fleet.lease=5m" // longer than this test waits for anything
	stops := s.join(untilTheEnd)
	awaitServing(t, stops)
	jobs := make(map[string]string)
	const fetched = 1 + 4 // one is executed, the others wait in the node's line
	for i := range fetched {
		name := fmt.Sprintf("image-%d", i)
		if i == 0 {
			name += " sleep:3s"
		}
		a, err := s.try(http.MethodPost, stops.serving()+"/jobs", fmt.Appendf(nil, `{"input":%q}`, s.origin.URL+"/"+strings.ReplaceAll(name, " ", "%20")), daemontest.JSON)
		if err != nil {
			t.Fatal(err)
		}
		jobs[a.Job(t, http.StatusAccepted).ID] = name
		if i == 0 {
			daemontest.Eventually(t, "it is in work", func() bool { return stops.logged(t, "job resolved") == 1 })
		}
	}
	daemontest.Eventually(t, "all are at the node", func() bool { return stops.logged(t, "job resolved") == fetched })
	heir := s.join(untilTheEnd)
	awaitServing(t, heir)
	stopped := time.Now()
	stops.stop(syscall.SIGTERM)
	s.members = []*member{heir}
	s.completes(jobs)
	figure(t, "a job that waits at a node starts elsewhere", "%.2f s after its SIGTERM", s.logTimes("job started", jobs)[0].Sub(stopped).Seconds())
	for id := range jobs {
		if j := s.job(heir, id); j.Attempts > 2 {
			t.Errorf("job %s is completed at attempt %d", id, j.Attempts)
		}
	}
}

func TestFleetKilledNodesJobStartsElsewhere(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	victim := s.join()
	awaitServing(t, victim)
	const name = "image"
	reached, release := s.holdPuts(".jpg")
	id := s.async(victim, name)
	<-reached
	heir := s.join()
	awaitServing(t, heir)
	victim.stop(syscall.SIGKILL)
	release()
	killed := time.Now()
	s.members = []*member{heir}
	daemontest.Eventually(t, "it is redelivered", func() bool { return heir.logged(t, "job started") == 1 })
	figure(t, "a killed node's job starts again (fleet.lease=10s)", "%.1f s after the kill", time.Since(killed).Seconds())
	s.completes(map[string]string{id: name})
	if j := s.job(heir, id); j.Attempts != 2 {
		t.Errorf("it is completed at attempt %d, want 2", j.Attempts)
	}
}

func TestFleetZombieChangesNothing(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	zombie := s.join()
	awaitServing(t, zombie)
	other := s.join("codec.path=" + standin(t, twin))
	awaitServing(t, other)
	other.signal(syscall.SIGSTOP)
	const name = "image"
	var once sync.Once
	stopped := make(chan struct{})
	s.proxy.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".jpg") {
			once.Do(func() { // this file is still stored
				zombie.signal(syscall.SIGSTOP)
				close(stopped)
			})
		}
		return false
	})
	id := s.async(zombie, name)
	<-stopped
	other.signal(syscall.SIGCONT)
	s.members = []*member{other}
	s.completes(map[string]string{id: name})
	zombie.signal(syscall.SIGCONT)
	daemontest.Eventually(t, "the zombie has done its job, too", func() bool { return zombie.logged(t, "job ended") > 0 })
	s.members = []*member{zombie, other}
	s.completes(map[string]string{id: name})
	if j := s.job(zombie, id); j.Attempts != 2 {
		t.Errorf("it is completed at attempt %d, want 2", j.Attempts)
	}
	if over := s.proxy.Overwritten(); len(over) > 0 {
		t.Errorf("overwritten: %v", over)
	}
}

func TestFleetSetThatIsDeletedAndMadeAtOnceIsCompleteOrGone(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	nodes := []*member{s.join(), s.join("codec.path=" + standin(t, twin)), s.join()}
	awaitServing(t, nodes...)
	random := rand.New(rand.NewPCG(daemontest.Seed(t), 0))
	var whole, gone int
	id := s.made(nodes[0], "image").ID
	for round := range *rounds {
		var requests sync.WaitGroup
		for i, m := range nodes {
			wait := time.Duration(random.IntN(15)) * time.Millisecond
			deletes := round%3 == i || round%2 == 0 && (round+1)%3 == i
			requests.Go(func() {
				time.Sleep(wait) // so that all orders come
				var a daemontest.Answer
				var err error
				if deletes {
					a, err = s.try(http.MethodDelete, m.serving()+"/v1/images/"+id, nil)
				} else {
					a, err = s.try(http.MethodPost, m.serving()+"/v1/images", s.source("image"))
				}
				if err != nil || a.StatusCode/100 != 2 {
					t.Errorf("round %d at %s, delete %v: %v %s %s", round, m.name, deletes, err, a.Status, a.Body)
				}
			})
		}
		requests.Wait()
		published := 0
		daemontest.Eventually(t, "all nodes know the same", func() bool {
			published = 0
			for _, m := range nodes {
				a, err := s.try(http.MethodGet, m.serving()+"/v1/images/"+id, nil)
				if err == nil && a.StatusCode == http.StatusOK {
					published++
				}
			}
			return published == 0 || published == len(nodes)
		})
		if published == 0 {
			gone++
			continue
		}
		whole++
		if err := setOnDisk(s.store, id); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
	figure(t, "deleted and made at once", "%d rounds: %d times complete, %d times gone", *rounds, whole, gone)
}

func TestFleetNodeWithoutTheStoreOrNATSRefusesAndComesBack(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	link := fleettest.NewLink(t, s.servers.Servers[0])
	cut := s.join("fleet.servers=" + link.URL)
	awaitServing(t, cut)
	other := s.join()
	awaitServing(t, other)
	m := s.made(cut, "first")
	refuses := func(what string) {
		t.Helper()
		daemontest.Eventually(t, "uploads are refused without "+what, func() bool {
			a, err := s.try(http.MethodPost, cut.serving()+"/v1/images", s.source("refused"))
			return err == nil && unavailable(a)
		})
		daemontest.Eventually(t, "it is not ready", func() bool { return s.ready(cut) == http.StatusServiceUnavailable })
	}
	comesBack := func(name string) {
		t.Helper()
		daemontest.Eventually(t, "it is ready again", func() bool { return s.ready(cut) == http.StatusOK })
		a, err := s.try(http.MethodPost, cut.serving()+"/v1/images", s.source(name))
		if err != nil || a.StatusCode != http.StatusCreated {
			t.Errorf("an upload afterwards: %v, %s %s", err, a.Status, a.Body)
		}
	}
	serves := func(m manifest.Manifest) {
		t.Helper()
		for _, path := range []string{"/files/" + m.Variants[0].Key, "/v1/images/" + m.ID, "/v1/images"} {
			a, err := s.try(http.MethodGet, cut.serving()+path, nil)
			if err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("GET %s: %v, %s", path, err, a.Status)
			}
		}
	}

	link.Cut()
	refuses("NATS")
	serves(m)
	if a, err := s.try(http.MethodPost, other.serving()+"/v1/images", s.source("meanwhile")); err != nil || a.StatusCode != http.StatusCreated {
		t.Errorf("at the other node: %v, %s", err, a.Status)
	}
	unknown := "/v1/images/" + strings.Repeat("a", 26) // it may be of another node
	for _, path := range []string{unknown, "/files/" + strings.Repeat("a", 26) + "/320.webp", "/jobs", "/jobs/job_" + strings.Repeat("0", 26)} {
		a, err := s.try(http.MethodGet, cut.serving()+path, nil)
		if err != nil || !unavailable(a) {
			t.Errorf("GET %s without NATS: %v, %s %s", path, err, a.Status, a.Body)
		}
	}
	link.Restore()
	comesBack("second")

	s.proxy.Intercept(func(http.ResponseWriter, *http.Request) bool {
		panic(http.ErrAbortHandler) // as s3test.HangUp
	})
	refuses("the store")
	s.proxy.Intercept(nil)
	comesBack("third")
}

// unavailable reports whether an answer says that something is out of reach.
func unavailable(a daemontest.Answer) bool {
	return a.StatusCode == http.StatusServiceUnavailable && a.Code() == string(fault.Unavailable) && a.Header.Get("Retry-After") == "5"
}

func (s *arena) ready(m *member) int {
	a, err := s.try(http.MethodGet, m.serving()+"/readyz", nil)
	if err != nil {
		return 0
	}
	return a.StatusCode
}

func TestFleetImageThatKillsCodecsIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	first, second := s.join(), s.join()
	awaitServing(t, first, second)
	const name = "image crash"
	a, err := s.try(http.MethodPost, first.serving()+"/v1/images", s.source(name))
	if err != nil {
		t.Fatal(err)
	}
	a.CheckProblem(t, string(fault.ProcessingFailed))
	before := s.crashes()
	for _, m := range s.members {
		a, err := s.try(http.MethodPost, m.serving()+"/v1/images", s.source(name))
		if err != nil {
			t.Fatal(err)
		}
		a.CheckProblem(t, string(fault.ProcessingFailed))
	}
	if now := s.crashes(); before != 2 || now != 2 {
		t.Errorf("%d, then %d codecs died, want 2", before, now)
	}
}

// crashes counts the codecs of all nodes that died.
func (s *arena) crashes() (n int) {
	for _, m := range s.members {
		n += m.logged(s.t, "codec crashed")
	}
	return n
}

func TestFleetCrashesOfAnImageAreCountedAcrossNodes(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	const name = "image crash"
	upload := func(url string) (daemontest.Answer, error) {
		return s.try(http.MethodPost, url+"/v1/images", s.source(name), daemontest.Header("Prefer", "respond-async"))
	}
	// A node is killed when its first codec has died of the image.
	c := daemontest.Prepare(t, inFleet("victim", s.servers, s.proxy.URL), oneRung, func(c *config.Config) {
		c.Storage.Dir, c.Codec.Path = t.TempDir(), standin(t, "")
	}).Config
	mortal{Config: c, Message: "codec crashed, retrying in isolation", Nth: 1}.die(t, func(url string) error {
		_, err := upload(url)
		return err
	})
	heir := s.join()
	awaitServing(t, heir)
	jobs := s.servers.Subjects(t, fleettest.Jobs)
	if len(jobs) != 1 {
		t.Fatalf("the jobs are %v, want one", jobs)
	}
	id := jobs[0][strings.LastIndex(jobs[0], ".")+1:]
	if j := s.ended(heir, id); j.Status != "failed" || j.Error.Code != string(fault.ProcessingFailed) || j.Attempts != 2 {
		t.Errorf("%s with %q at attempt %d", j.Status, j.Error.Code, j.Attempts)
	}
	if n := s.crashes(); n != 1 {
		t.Errorf("%d codecs died at the second node, want 1", n)
	}
	a, err := upload(heir.serving())
	if err != nil {
		t.Fatal(err)
	}
	a.CheckProblem(t, string(fault.ProcessingFailed))
	if n := s.crashes(); n != 1 {
		t.Errorf("%d codecs died after the image was refused", n-1)
	}
}

func TestFleetQueueThatIsFullRefusesTheRest(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	const places = 8
	full := fmt.Sprintf("queue.max_pending=%d", places)
	first, second := s.join(full), s.join(full)
	awaitServing(t, first, second)
	var mu sync.Mutex
	jobs := make(map[string]string)
	refused := 0
	var clients sync.WaitGroup
	for i := range 10 * places {
		name := fmt.Sprintf("image-%d sleep:500ms", i)
		clients.Go(func() {
			a, err := s.try(http.MethodPost, s.members[i%2].serving()+"/v1/images", s.source(name), daemontest.Header("Prefer", "respond-async"))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case a.StatusCode == http.StatusAccepted:
				jobs[strings.TrimPrefix(a.Header.Get("Location"), "/jobs/")] = name
			case a.StatusCode == http.StatusTooManyRequests && a.Code() == string(fault.QueueFull) && a.Header.Get("Retry-After") != "":
				refused++
			default:
				t.Errorf("got %s %s", a.Status, a.Body)
			}
			if n := len(s.servers.Subjects(t, fleettest.Work)); n > places {
				t.Errorf("%d messages in the stream, want at most %d", n, places)
			}
		})
	}
	clients.Wait()
	if refused == 0 || len(jobs) < places {
		t.Errorf("%d jobs were accepted and %d refused", len(jobs), refused)
	}
	s.completes(jobs)
	figure(t, "queue.max_pending=8, 80 uploads at once", "%d accepted, %d refused", len(jobs), refused)
}

func TestFleetSingleVariantDoesNotWaitForLadders(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	m := s.join("fetch.concurrency=1", "queue.max_pending=1000")
	awaitServing(t, m)
	var all int
	order := func(name, options string) string {
		all++
		a, err := s.try(http.MethodPost, m.serving()+"/jobs", fmt.Appendf(nil, `{"input":"%s/%s-%d%%20sleep:20ms","options":%s}`, s.origin.URL, name, all, options), daemontest.JSON)
		if err != nil {
			t.Fatal(err)
		}
		return a.Job(t, http.StatusAccepted).ID
	}
	// One ladder is in work and does not end, so that the others wait.
	reached, release := s.holdPuts(".jpg")
	for range *ladders {
		order("ladder", "{}")
	}
	<-reached
	var worst, late int
	for i := range *singles {
		single := order("single", `{"width":20,"format":"jpeg"}`)
		if i == 0 {
			release()
		}
		var ahead int
		daemontest.Eventually(t, "the single variant starts", func() (ok bool) {
			ahead, ok = m.startedBefore(t, single)
			return ok
		})
		worst = max(worst, ahead)
		if ahead > 4 {
			late++
		}
		for range ahead { // so that as many wait
			order("ladder", "{}")
		}
	}
	if late > *singles/100 {
		t.Errorf("%d of %d single variants started after more than 4 of the ladders that waited", late, *singles)
	}
	figure(t, fmt.Sprintf("ladders started before each of %d single variants, %d wait", *singles, *ladders), "at most %d; more than 4 before %d", worst, late)
}

// startedBefore returns how many jobs the node has started since one was recorded, and
// whether that has started.
func (m *member) startedBefore(t *testing.T, id string) (n int, ok bool) {
	t.Helper()
	known := false
	for line := range bytes.Lines(daemontest.ReadFile(t, m.log)) {
		var entry struct {
			Msg string
			Job string `json:"job_id"`
		}
		if json.Unmarshal(line, &entry) != nil {
			continue
		}
		switch {
		case entry.Msg == recorded && entry.Job == id:
			known = true
		case entry.Msg == "job started" && entry.Job == id:
			return n, true
		case entry.Msg == "job started" && known:
			n++
		}
	}
	return n, false
}
