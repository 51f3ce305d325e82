package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// scripts/chaos-daemon sets these for the long form.
var (
	kills     = flag.Int("kills", 4, "how often TestDaemonThatIsKilledAtAnyMomentKeepsItsWord kills it")
	chaosSeed = flag.Uint64("chaos.seed", 1, "seed of everything that is random")
)

// The moment of a kill is random: after at most mostAnswers uploads were
// answered, plus a pause. The pauses are not for synchronization: whatever the
// daemon has reached by then, it must keep its promises.
const (
	uploaders    = 5
	mostAnswers  = 15
	longestLoad  = 100 * time.Millisecond // after the last of those answers
	longestStart = 400 * time.Millisecond // after the start
	longestStop  = 200 * time.Millisecond // after SIGTERM, or after a codec process was stopped
	longestPause = 100 * time.Millisecond // of a client after 429
)

// figure is a line of the table that scripts/chaos-daemon prints.
func figure(t *testing.T, what, format string, args ...any) {
	t.Logf("figure: %-58s %s", what, fmt.Sprintf(format, args...))
}

func TestDaemonThatIsKilledAtAnyMomentKeepsItsWord(t *testing.T) {
	c := newChaos(t)
	for round := range *kills {
		if round == 1 {
			c.litter()
		}
		switch round % 4 {
		case 0:
			c.killUnderLoad(round, killOutright)
		case 1:
			c.killWhileItStarts()
		case 2:
			c.killUnderLoad(round, killWithAStoppedChild)
		case 3:
			c.killUnderLoad(round, killWhileItStops)
		}
		c.lookAtFiles(false)
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}
	c.settle()
	figure(t, "kill -9 of the daemon", "%d (seed %d)", *kills, *chaosSeed)
	for _, what := range slices.Sorted(maps.Keys(c.counts)) {
		figure(t, what, "%d", c.counts[what])
	}
	figure(t, "codec processes gone after the kill, at the latest", "%v", c.slowestChild.Round(time.Millisecond))
	figure(t, "uploads that were promised and not kept", "0")
}

func TestBusyCodecProcessDiesWithItsDaemon(t *testing.T) {
	c := newChaos(t)
	s := serve(t, c.dir, "ladder.widths=1600", "ladder.formats=avif", "ladder.effort.avif=8", "codec.threads=1", "codec.processes=1", "storage.min_free=1")
	for i := range 4 { // which take it some seconds of processor time each
		var j jobAnswer
		s.do(t, http.MethodPost, "/v1/images", fmt.Append(slices.Clone(c.photo), i), map[string]string{"Prefer": "respond-async"}, &j)
	}
	child, err := procfs.NewProc(codecs(t, s.Process.Pid)[0])
	if err != nil {
		t.Fatal(err)
	}
	spent := func() float64 {
		stat, err := child.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return stat.CPUTime()
	}
	before := spent()
	await(t, "the codec process encodes", func() bool { return spent() > before+0.1 })
	if len(c.names("queue/done")) == 4 {
		t.Fatal("all images are done already")
	}
	c.kill(s.Cmd)
}

// chaos is a data folder on which daemons are killed, with the answers that
// clients got from them.
type chaos struct {
	t     *testing.T
	dir   string
	photo []byte
	rand  *rand.Rand // of the test's own goroutine

	seeds  atomic.Uint64
	dying  atomic.Bool // the kill is about to come: broken connections are no fault any more
	mu     sync.Mutex
	counts map[string]int
	sets   map[string]promise // by the digest of the source
	fresh  []string           // digests in sets that were reported since the last start
	jobs   map[string]upload  // announced, and not seen at their end

	whole        map[string]bool // sets whose every file was held against the manifest
	slowestChild time.Duration
}

// promise is a set that somebody was promised.
type promise struct {
	id   string
	body []byte // the manifest as it was answered; nil if the answer was cut off
}

// upload is a source as its client knows it.
type upload struct {
	body   []byte
	digest string
	broken bool
}

func newChaos(t *testing.T) *chaos {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("run it again with -run='^%s$' -chaos.seed=%d", t.Name(), *chaosSeed)
		}
	})
	return &chaos{
		t: t, dir: t.TempDir(), photo: read(t, testdata(t)+"/test.jpg"), rand: seeded(0),
		counts: make(map[string]int), sets: make(map[string]promise), jobs: make(map[string]upload), whole: make(map[string]bool),
	}
}

// seeded is a source of random numbers that follows from -chaos.seed and the
// number of the goroutine that draws from it.
func seeded(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(*chaosSeed, stream)) }

// upTo is a random duration.
func upTo(r *rand.Rand, longest time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(longest)))
}

func (c *chaos) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

func (c *chaos) serve() *server {
	return serve(c.t, c.dir, c.settings()...)
}

func (c *chaos) settings() []string {
	return []string{
		"http.public_url=https://img.example.com", // so that manifests are the same over restarts
		"ladder.widths=64,800", "codec.processes=2", "queue.max_pending=40", "storage.min_free=1", "log.level=warn",
	}
}

// next is a source: mostly a small one of its own, now and then a larger one
// that keeps a codec busy, one that others send too, or a broken one.
func (c *chaos) next(r *rand.Rand) upload {
	seed, kind := c.seeds.Add(1), r.IntN(10)
	if kind < 3 { // one of the last few
		seed -= min(seed, r.Uint64N(6))
	}
	u := upload{body: speck(c.t, seed)}
	switch {
	case seed%7 == 0: // the same pixels, another source
		u.body = fmt.Appendf(slices.Clone(c.photo), "%d", seed)
	case seed%11 == 0:
		u.body, u.broken = u.body[:len(u.body)/2], true
	}
	digest := sha256.Sum256(u.body)
	u.digest = hex.EncodeToString(digest[:])
	return u
}

// speck is a small image of its own for each seed.
func speck(t *testing.T, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	m := image.NewGray(image.Rect(0, 0, 80, 60))
	for i := range m.Pix {
		m.Pix[i] = byte(r.Uint32())
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Error(err)
	}
	return b.Bytes()
}

// The ways in which a daemon under load is killed.
type killing int

const (
	killOutright killing = iota
	killWithAStoppedChild
	killWhileItStops
)

func (c *chaos) killUnderLoad(round int, how killing) {
	s := c.serve()
	c.keptWords(s, "0")
	c.dying.Store(false)
	transport := &http.Transport{MaxIdleConnsPerHost: uploaders}
	client := &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(c.t.Context())
	var answers sync.WaitGroup // that are waited for before the kill
	var left atomic.Int64
	n := c.rand.IntN(mostAnswers + 1)
	answers.Add(n)
	left.Store(int64(n))
	answered := func() {
		if left.Add(-1) >= 0 {
			answers.Done()
		}
	}
	var group sync.WaitGroup
	for i := range uploaders {
		r := seeded(uint64(1 + round*uploaders + i))
		group.Go(func() {
			for ctx.Err() == nil && c.upload(ctx, r, client, s.url) {
				answered()
			}
			for range n { // it uploads no more, so nobody may wait for its answers
				answered()
			}
		})
	}
	answers.Wait()
	time.Sleep(upTo(c.rand, longestLoad))
	if how == killWithAStoppedChild {
		if children := codecs(c.t, s.Process.Pid); len(children) > 0 {
			_ = syscall.Kill(children[c.rand.IntN(len(children))], syscall.SIGSTOP)
			c.count("  … with a codec process stopped by SIGSTOP")
		}
		time.Sleep(upTo(c.rand, longestStop)) // it may have work by now
	}
	c.dying.Store(true)
	if how == killWhileItStops {
		_ = s.Process.Signal(syscall.SIGTERM)
		c.count("  … while it stopped after SIGTERM")
		time.Sleep(upTo(c.rand, longestStop))
	}
	c.kill(s.Cmd)
	cancel()
	group.Wait()
	transport.CloseIdleConnections()
	if len(c.names("queue/running")) > 0 {
		c.count("  … with jobs in work")
	}
	if len(c.names("files/.staging")) > 0 {
		c.count("  … with sets half made")
	}
}

// killWhileItStarts kills a daemon that recovers the queue and has its codec
// test itself.
func (c *chaos) killWhileItStarts() {
	args := []string{"serve", "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=", "--set", "storage.dir=" + c.dir}
	for _, set := range c.settings() {
		args = append(args, "--set", set)
	}
	d := exec.CommandContext(c.t.Context(), filepath.Join(bin, "optimizerd"), args...)
	if err := d.Start(); err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(upTo(c.rand, longestStart))
	c.kill(d)
	c.count("  … while it started")
}

// kill is SIGKILL, after which the codec processes end, too.
func (c *chaos) kill(d *exec.Cmd) {
	c.t.Helper()
	began := time.Now()
	_ = d.Process.Kill() // it may have stopped already
	_ = d.Wait()         // its error is that it was killed
	await(c.t, "the codec processes end with their daemon", func() bool { return len(leftovers(c.t)) == 0 })
	c.slowestChild = max(c.slowestChild, time.Since(began))
}

// codecs are the codec processes of a daemon.
func codecs(t *testing.T, daemon int) []int {
	t.Helper()
	return processes(t, func(exe string, stat procfs.ProcStat) bool {
		return exe == filepath.Join(bin, "optimizerd-codec") && stat.PPID == daemon
	})
}

// leftovers are all processes of daemons that have ended. A child that is
// forked but does not run the codec yet still has the daemon's name, and holds
// the locks of its directories.
func leftovers(t *testing.T) []int {
	t.Helper()
	return processes(t, func(exe string, _ procfs.ProcStat) bool { return filepath.Dir(exe) == bin })
}

func processes(t *testing.T, wanted func(exe string, stat procfs.ProcStat) bool) []int {
	t.Helper()
	all, err := procfs.AllProcs()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range all {
		exe, err := p.Executable()
		if err != nil {
			continue // gone, or somebody else's
		}
		if stat, err := p.Stat(); err == nil && stat.State != "Z" && wanted(exe, stat) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// litter leaves what a kill at the worst moment does, however seldom that is.
func (c *chaos) litter() {
	c.t.Helper()
	for _, name := range []string{
		"spool/1.part", "spool/" + strings.Repeat("0", 64), "files/.staging/1",
		"queue/pending/.job_00000000000000000000000000.json1", "queue/failed/.job_00000000000000000000000000.json1",
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte("half"), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

// lookAtFiles checks that the served folder holds whole sets and nothing else,
// while no daemon runs. The files of a set are read once; at last, all again.
func (c *chaos) lookAtFiles(last bool) {
	c.t.Helper()
	files := filepath.Join(c.dir, "files")
	for _, id := range c.names("files") {
		if id == ".staging" && !last || id == ".index" { // the latter of a thousand sets, after a stop
			continue
		}
		names := c.names("files/" + id)
		if !ladder.ValidID(id) || len(names) == 0 {
			c.t.Errorf("the served folder holds %s with %v", id, names)
			continue
		}
		if c.whole[id] && !last {
			continue
		}
		m, err := manifest.Decode(read(c.t, filepath.Join(files, id, manifest.FileName)))
		if err != nil || m.ID != id {
			c.t.Errorf("%s has the manifest of %q: %v", id, m.ID, err)
			continue
		}
		want := []string{manifest.FileName}
		for _, v := range m.Variants {
			want = append(want, v.Name())
		}
		slices.Sort(want)
		if !slices.Equal(names, want) {
			c.t.Errorf("%s holds %v, its manifest says %v", id, names, want)
			continue
		}
		checkFiles(c.t, files, m)
		c.whole[id] = true
		if last {
			c.counts["sets at the end, every file as its manifest says"]++
		}
	}
}

// names lists a folder of the data, sorted; one that is not there is empty.
func (c *chaos) names(folder string) []string {
	c.t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dir, folder))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// settle lets a last daemon end what is promised, and looks at what is left.
func (c *chaos) settle() {
	s := c.serve()
	for len(c.jobs) > 0 && !c.t.Failed() {
		c.keptWords(s, "20")
	}
	for digest := range c.sets {
		c.keptWord(s, digest)
	}
	// Uploads that were accepted, but whose answer was lost by a kill, are done
	// too.
	await(c.t, "every accepted upload is done", func() bool {
		return len(c.names("queue/pending"))+len(c.names("queue/running")) == 0
	})
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		c.t.Errorf("the last daemon ended with %v", err)
	}
	for _, folder := range []string{"spool", "queue/pending", "queue/running", "files/.staging"} {
		if left := c.names(folder); len(left) > 0 {
			c.t.Errorf("left in %s: %v", folder, left)
		}
	}
	for _, folder := range []string{"queue/done", "queue/failed"} {
		for _, name := range c.names(folder) {
			if filepath.Ext(name) != ".json" {
				c.t.Errorf("%s holds %s", folder, name)
			}
		}
	}
	if left := leftovers(c.t); len(left) > 0 {
		c.t.Errorf("codec processes live on: %v", left)
	}
	c.lookAtFiles(true)
	there := c.names("files")
	for _, p := range c.sets {
		if _, found := slices.BinarySearch(there, p.id); !found {
			c.t.Errorf("the promised set %s is not there", p.id)
		}
	}
}
