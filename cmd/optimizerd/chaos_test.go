package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"maps"
	"math/rand/v2"
	"net"
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

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// scripts/chaos-daemon sets these for the long form.
var (
	kills      = flag.Int("kills", 6, "how often TestADaemonThatIsKilledAtAnyMomentKeepsItsWord kills it")
	slowPairs  = flag.Int("slow-pairs", 0, "how often TestSlowClientsTakeNothingFromTheWork measures with and without; 0 leaves it out")
	slowWindow = flag.Duration("slow-window", 12*time.Second, "how long it measures each time")
)

const (
	uploaders = 5
	// orphanTime is how long a codec process may outlive its daemon.
	orphanTime = time.Second
	// longestLoad, longestStart and longestStop bound the moments of the kill,
	// from the daemon's first line, its start and its SIGTERM on.
	longestLoad  = 1200 * time.Millisecond
	longestStart = 400 * time.Millisecond
	longestStop  = 200 * time.Millisecond
	longestPause = 100 * time.Millisecond // of a client after 429
)

// figure is a line of the table that scripts/chaos-daemon prints.
func figure(t *testing.T, what, format string, args ...any) {
	t.Logf("figure: %-58s %s", what, fmt.Sprintf(format, args...))
}

func TestADaemonThatIsKilledAtAnyMomentKeepsItsWord(t *testing.T) {
	c := newChaos(t)
	for round := range *kills {
		if round == 1 {
			c.litter()
		}
		switch round % 6 {
		case 1:
			c.killWhileItStarts()
		case 4:
			c.killUnderLoad(killWhileItStops)
		case 2, 5:
			c.killUnderLoad(killWithAStoppedChild)
		default:
			c.killUnderLoad(killOutright)
		}
		c.lookAtFiles(false)
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}
	c.settle()
	figure(t, "kill -9 of the daemon", "%d", *kills)
	for _, what := range slices.Sorted(maps.Keys(c.counts)) {
		figure(t, what, "%d", c.counts[what])
	}
	figure(t, "codec processes gone after the kill, at the latest", "%v", c.slowestChild.Round(time.Millisecond))
	figure(t, "uploads that were promised and not kept", "0")
}

func TestABusyCodecProcessDiesWithItsDaemon(t *testing.T) {
	c := newChaos(t)
	s := serve(t, c.dir, "ladder.widths=1600", "ladder.formats=avif", "ladder.effort.avif=8", "codec.threads=1", "codec.processes=1", "storage.min_free=1")
	var j jobAnswer
	s.do(t, http.MethodPost, "/v1/images", c.photo, map[string]string{"Prefer": "respond-async"}, &j)
	child, err := procfs.NewProc(c.children(s.Process.Pid)[0])
	if err != nil {
		t.Fatal(err)
	}
	before, err := child.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for now := before; now.CPUTime() < before.CPUTime()+0.3; time.Sleep(2 * time.Millisecond) { // it encodes, for some seconds
		if now, err = child.Stat(); err != nil {
			t.Fatal(err)
		}
		if len(c.names("files")) > 1 {
			t.Fatal("the picture is made already")
		}
	}
	c.kill(s.Cmd)
}

// chaos is a data folder on which daemons are killed, and what clients were
// told by them.
type chaos struct {
	t     *testing.T
	dir   string
	photo []byte

	seeds  atomic.Uint64
	dying  atomic.Bool // the kill is about to come: broken connections are no fault any more
	mu     sync.Mutex
	counts map[string]int
	sets   map[string]promise // by the digest of the source
	fresh  []string           // digests in sets that were told since the last start
	jobs   map[string]upload  // announced, and not seen at their end

	whole        map[string]bool // sets whose every file was held against the manifest
	slowestChild time.Duration
}

// promise is a set of which somebody was told.
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
	return &chaos{
		t: t, dir: t.TempDir(), photo: read(t, testdata(t)+"/test.jpg"),
		counts: make(map[string]int), sets: make(map[string]promise), jobs: make(map[string]upload), whole: make(map[string]bool),
	}
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
func (c *chaos) next() upload {
	seed, kind := c.seeds.Add(1), rand.IntN(10)
	if kind < 3 { // one of the last few
		seed -= min(seed, rand.Uint64N(6))
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

// speck is a small picture of its own for each seed.
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

func (c *chaos) killUnderLoad(how killing) {
	s := c.serve()
	c.keptWords(s, "0")
	c.dying.Store(false)
	transport := &http.Transport{MaxIdleConnsPerHost: uploaders}
	client := &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(c.t.Context())
	var group sync.WaitGroup
	for range uploaders {
		group.Go(func() {
			for ctx.Err() == nil && c.upload(ctx, client, s.url) {
			}
		})
	}
	// The moment is the test's only chance: nothing is waited for.
	time.Sleep(rand.N(longestLoad))
	if how == killWithAStoppedChild {
		if children := c.children(s.Process.Pid); len(children) > 0 {
			_ = syscall.Kill(children[rand.IntN(len(children))], syscall.SIGSTOP)
			c.count("  … with a codec process stopped by SIGSTOP")
		}
		time.Sleep(rand.N(longestStop)) // it may have work by now
	}
	c.dying.Store(true)
	if how == killWhileItStops {
		_ = s.Process.Signal(syscall.SIGTERM)
		c.count("  … while it stopped after SIGTERM")
		time.Sleep(rand.N(longestStop))
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
	time.Sleep(rand.N(longestStart))
	c.kill(d)
	c.count("  … while it started")
}

// kill is SIGKILL, after which the codec processes have a second.
func (c *chaos) kill(d *exec.Cmd) {
	c.t.Helper()
	began := time.Now()
	_ = d.Process.Kill() // it may have stopped already
	_ = d.Wait()         // its error is that it was killed
	for {
		left := c.children(0)
		took := time.Since(began)
		if len(left) == 0 {
			c.slowestChild = max(c.slowestChild, took)
			return
		}
		if took > orphanTime {
			c.t.Errorf("%v after the kill these codec processes live on: %v", took, left)
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// upload sends one source and keeps what is promised. It returns false when
// the daemon is gone.
func (c *chaos) upload(ctx context.Context, client *http.Client, url string) bool {
	u := c.next()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/images", bytes.NewReader(u.body))
	if err != nil {
		c.t.Error(err)
		return false
	}
	switch rand.IntN(4) {
	case 0, 1:
		r.Header.Set("Prefer", "respond-async")
	case 2:
		r.Header.Set("Prefer", "wait=1")
	}
	res, err := client.Do(r)
	if err != nil {
		if !c.dying.Load() {
			c.t.Errorf("an upload before the kill: %v", err)
		}
		return false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	body = bytes.TrimSpace(body)
	if err != nil {
		body = nil // the status and the Location came, and are a promise
		if !c.dying.Load() {
			c.t.Errorf("an answer before the kill: %v", err)
		}
	}
	c.answered(u, res, body)
	if res.StatusCode == http.StatusTooManyRequests {
		select {
		case <-time.After(rand.N(longestPause)):
		case <-ctx.Done():
		}
	}
	return err == nil
}

func (c *chaos) answered(u upload, res *http.Response, body []byte) {
	c.count(fmt.Sprintf("uploads answered %d", res.StatusCode))
	where := res.Header.Get("Location")
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated:
		c.promised(u, promise{strings.TrimPrefix(where, "/v1/images/"), body})
	case http.StatusAccepted:
		id := strings.TrimPrefix(where, "/jobs/")
		if !job.ValidID(id) {
			c.t.Errorf("202 with Location %q", where)
		}
		c.mu.Lock()
		c.jobs[id] = u
		c.mu.Unlock()
	case http.StatusTooManyRequests:
	case http.StatusServiceUnavailable:
		if !c.dying.Load() {
			c.t.Errorf("503 before the end: %s", body)
		}
	default:
		var p struct{ Code fault.Code }
		_ = json.Unmarshal(body, &p)
		if !u.broken || p.Code != fault.CorruptImage {
			c.t.Errorf("an upload (broken: %v) was answered %s: %s", u.broken, res.Status, body)
		}
	}
}

// promised keeps a promise, which must be the same as an earlier one for the
// same source.
func (c *chaos) promised(u upload, p promise) {
	if p.body != nil {
		m, err := manifest.Decode(p.body)
		if err != nil || m.ID != p.id || m.Source.SHA256 != u.digest || m.Source.Bytes != int64(len(u.body)) {
			c.t.Errorf("the manifest of %s is not that of its source (%v): %s", p.id, err, p.body)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = append(c.fresh, u.digest)
	before, again := c.sets[u.digest]
	if again && (before.id != p.id || before.body != nil && p.body != nil && !bytes.Equal(before.body, p.body)) {
		c.t.Errorf("one source was answered\n%s %s\nand\n%s %s", before.id, before.body, p.id, p.body)
	}
	if p.body == nil {
		p.body = before.body
	}
	c.sets[u.digest] = p
}

// keptWords asks a daemon for what the one before it has promised; jobs are
// waited for so many seconds.
func (c *chaos) keptWords(s *server, wait string) {
	for id, u := range c.jobs {
		var j jobAnswer
		var p struct{ Error *job.Error }
		answer, body := c.get(s, "/jobs/"+id, wait)
		if err := errors.Join(json.Unmarshal(body, &j), json.Unmarshal(body, &p)); err != nil || answer.StatusCode != http.StatusOK {
			c.t.Errorf("a promised job: %s: %s", answer.Status, body)
			continue
		}
		switch {
		case job.Status(j.Status) == job.Completed && !u.broken:
			_, body := c.get(s, "/v1/images/"+j.Output.Manifest.ID, "0")
			c.promised(u, promise{j.Output.Manifest.ID, body})
			c.counts["promised jobs seen completed"]++
		case job.Status(j.Status) == job.Failed && u.broken && p.Error.Code == fault.CorruptImage:
			c.counts["promised jobs of broken pictures seen failed"]++
		case !job.Status(j.Status).Ended():
			continue
		default:
			c.t.Errorf("a promised job (broken: %v) is %s", u.broken, body)
		}
		delete(c.jobs, id)
	}
	for _, digest := range c.fresh {
		c.keptWord(s, digest)
	}
	c.fresh = nil
}

func (c *chaos) keptWord(s *server, digest string) {
	p := c.sets[digest]
	answer, body := c.get(s, "/v1/images/"+p.id, "0")
	if answer.StatusCode != http.StatusOK || p.body != nil && !bytes.Equal(body, p.body) {
		c.t.Errorf("a promised set: %s\n%s\nwant\n%s", answer.Status, body, p.body)
	}
	c.sets[digest] = promise{p.id, body}
}

func (c *chaos) get(s *server, path, wait string) (*http.Response, []byte) {
	c.t.Helper()
	var raw json.RawMessage
	answer := s.do(c.t, http.MethodGet, path, nil, map[string]string{"Prefer": "wait=" + wait}, &raw)
	return answer, raw
}

// children are the codec processes of a daemon; 0 for those of any.
func (c *chaos) children(daemon int) []int {
	c.t.Helper()
	all, err := procfs.AllProcs()
	if err != nil {
		c.t.Fatal(err)
	}
	var pids []int
	for _, p := range all {
		exe, err := p.Executable()
		if err != nil || exe != filepath.Join(bin, "optimizerd-codec") {
			continue // gone, or somebody else's
		}
		if stat, err := p.Stat(); err == nil && stat.State != "Z" && (daemon == 0 || stat.PPID == daemon) {
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
		if id == ".staging" && !last {
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
	// Uploads that were accepted, and of which a kill kept everybody from being
	// told, are done too.
	for len(c.names("queue/pending"))+len(c.names("queue/running")) > 0 && !c.t.Failed() {
		var health struct{ Status string }
		s.do(c.t, "GET", "/healthz", nil, nil, &health)
	}
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
	if left := c.children(0); len(left) > 0 {
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

// slowClients are connections that upload a byte now and a byte then.
type slowClients struct {
	cancel   context.CancelFunc
	group    sync.WaitGroup
	open     atomic.Int64
	statuses [600]atomic.Int64
	gone     atomic.Int64 // ended without an answer
}

// slowly keeps so many of them: each sends a byte a second while sending, and
// is followed by another one when it is answered, if again. An answer after
// again has ended is the last.
func slowly(t *testing.T, s *server, n int, sending, again context.Context) *slowClients {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &slowClients{cancel: cancel}
	body := read(t, testdata(t)+"/test.jpg")
	for range n {
		c.group.Go(func() {
			for first := true; first || again.Err() == nil; first = false {
				status, err := slowUpload(ctx, sending, strings.TrimPrefix(s.url, "http://"), body, &c.open)
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					c.gone.Add(1)
				default:
					c.statuses[status].Add(1)
				}
			}
		})
	}
	return c
}

// stop cuts off those that are left.
func (c *slowClients) stop() {
	c.cancel()
	c.group.Wait()
}

// slowUpload returns the status of the answer. open counts those that wait for
// one.
func slowUpload(ctx, sending context.Context, address string, body []byte, open *atomic.Int64) (status int, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintf(conn, "POST /v1/images HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", address, len(body)); err != nil {
		return 0, err
	}
	open.Add(1)
	defer open.Add(-1)
	answered, stop := context.WithCancel(sending)
	defer stop()
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := range body {
			if _, err := conn.Write(body[i : i+1]); err != nil {
				return // the answer says why
			}
			select {
			case <-tick.C:
			case <-answered.Done():
				return
			}
		}
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

func TestUploadsSucceedBesideSlowClientsWhichEndWith408(t *testing.T) {
	const n = 50
	s := serve(t, t.TempDir(), "http.body_idle=3s", "ladder.widths=64", "storage.min_free=1")
	sending, stop := context.WithCancel(t.Context())
	defer stop()
	never, cancel := context.WithCancel(t.Context())
	cancel()
	slow := slowly(t, s, n, sending, never)
	for deadline := time.Now().Add(10 * time.Second); slow.open.Load() < n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d slow connections are open", slow.open.Load(), n)
		}
	}
	for seed := range uint64(8) {
		var m manifest.Manifest
		if answer := s.do(t, http.MethodPost, "/v1/images", speck(t, seed), nil, &m); answer.StatusCode != http.StatusCreated {
			t.Errorf("an upload beside them: %s", answer.Status)
		}
	}
	if open := slow.open.Load(); open < n {
		t.Errorf("%d slow connections are open at the end of the uploads, want all %d", open, n)
	}
	stop()
	slow.group.Wait()
	if got := slow.statuses[http.StatusRequestTimeout].Load(); got != n {
		t.Errorf("%d of %d slow connections ended with 408, %d without an answer", got, n, slow.gone.Load())
	}
}

func TestSlowClientsTakeNothingFromTheWork(t *testing.T) {
	const n, least = 200, 0.9
	if *slowPairs == 0 {
		t.Skip("a measurement: scripts/chaos-daemon takes it")
	}
	s := serve(t, t.TempDir(), "ladder.widths=320,640", "storage.min_free=1", "log.level=error")
	photo := read(t, testdata(t)+"/test.jpg")
	rate(t, s, photo, time.Second) // warm
	var ratios, with, without []float64
	var cutOff, gone, other int64
	for i := range *slowPairs {
		beside := func() {
			slow := slowly(t, s, n, t.Context(), t.Context())
			defer slow.stop()
			for slow.open.Load() < n {
				time.Sleep(2 * time.Millisecond)
			}
			with = append(with, rate(t, s, photo, *slowWindow))
			slow.stop()
			cutOff += slow.statuses[http.StatusRequestTimeout].Load()
			gone += slow.gone.Load()
			for status := range slow.statuses {
				if status != http.StatusRequestTimeout {
					other += slow.statuses[status].Load()
				}
			}
		}
		alone := func() { without = append(without, rate(t, s, photo, *slowWindow)) }
		turns := []func(){beside, alone}
		if i%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			turn()
		}
		ratios = append(ratios, with[i]/without[i])
	}
	for _, values := range [][]float64{ratios, with, without} {
		slices.Sort(values)
	}
	median := func(values []float64) float64 { return (values[(len(values)-1)/2] + values[len(values)/2]) / 2 }
	figure(t, "uploads a second alone, median", "%.1f", median(without))
	figure(t, fmt.Sprintf("uploads a second beside %d slow clients, median", n), "%.1f", median(with))
	figure(t, "their ratio, median of pairs (lowest, highest)", "%.3f (%.3f, %.3f; %d pairs)", median(ratios), ratios[0], ratios[len(ratios)-1], len(ratios))
	figure(t, "slow clients that were cut off with 408", "%d", cutOff)
	figure(t, "slow clients that ended otherwise", "%d", gone+other)
	if median(ratios) < least {
		t.Errorf("beside slow clients work goes on at %.3f of its rate, want at least %v", median(ratios), least)
	}
	if gone+other > 0 || cutOff == 0 {
		t.Errorf("%d slow clients ended with 408, %d with another answer, %d without one", cutOff, other, gone)
	}
}

// rate is how many uploads a second a few clients get done within a time. They
// delete what they get, so that the disk does not fill.
func rate(t *testing.T, s *server, photo []byte, window time.Duration) float64 {
	t.Helper()
	var done atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for range 3 {
		group.Go(func() {
			for time.Since(began) < window {
				var m manifest.Manifest
				source := fmt.Appendf(slices.Clone(photo), "%x", rand.Uint64())
				answer := s.do(t, http.MethodPost, "/v1/images", source, nil, &m)
				if answer.StatusCode != http.StatusCreated {
					t.Errorf("an upload: %s", answer.Status)
					return
				}
				done.Add(1)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.url+"/v1/images/"+m.ID, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if answer, err = http.DefaultClient.Do(r); err != nil {
					t.Error(err)
					return
				}
				answer.Body.Close()
			}
		})
	}
	group.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}
