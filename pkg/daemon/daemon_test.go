// Package daemon_test runs the whole service: the daemon in this process, and
// real optimizerd-codec children with real libvips. Every answer is held
// against the daemon's own /openapi.json on its way to the test.
package daemon_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon"
	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

func TestMain(m *testing.M) {
	if orders := os.Getenv(mortalEnv); orders != "" {
		fmt.Fprintln(os.Stderr, liveAndDie(orders))
		os.Exit(1)
	}
	runMain(m)
}

// runMain is a package's TestMain: it builds optimizerd-codec for all tests of
// the package, and fails if they leave a goroutine behind.
func runMain(m *testing.M) {
	// Many tests wait for a clock rather than work; -parallel overrides this.
	err := flag.Set("test.parallel", "8")
	if err == nil {
		_, err = codecPath()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, edgetest.Leftover(), goleak.Cleanup(func(code int) {
		if dir, err := buildDir(); err == nil {
			os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}

// buildDir is where programs are built for the tests; runMain deletes it.
var buildDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "optimizerd-test-") })

// codecPath is the codec's program, built when it is first needed, and
// optimizerdPath the daemon's.
var (
	codecPath      = sync.OnceValues(func() (string, error) { return build("optimizerd-codec", "1") })
	optimizerdPath = sync.OnceValues(func() (string, error) { return build("optimizerd", "0") })
)

func build(name, cgo string) (string, error) {
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-o", path, "github.com/optimizerd/optimizerd/cmd/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s\nbuild cmd/%s: %w: install what it needs: make deps", out, name, err)
	}
	return path, nil
}

// patience is how long a test waits for anything. It only guards against
// hanging, so it is far longer than anything takes on a machine under load.
const patience = 3 * time.Minute

// client is an HTTP client of a running daemon.
type client struct {
	t        *testing.T
	config   config.Config
	began    time.Time // when the test first had anything to do with the daemon
	url      string
	adminURL string // of the metrics; "" if there are none
	http     *http.Client
	doc      *contract
}

// connect makes the client of a daemon that listens at c.url.
func (c *client) connect() {
	c.t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	c.t.Cleanup(transport.CloseIdleConnections)
	c.doc = fetchContract(c.t, c.url, transport, c.config)
	c.http = &http.Client{
		Transport:     checked{transport, c.doc, c.t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
}

// server is a daemon that runs in the test's process, and a client of it.
type server struct {
	client
	logs   *observer.ObservedLogs
	hooks  map[string]func() // by the message of a log line, called before the daemon goes on
	cancel context.CancelFunc
	ended  chan struct{} // closed when Run has returned
	err    error         // of Run, once ended is closed
}

// start runs a daemon on free ports, with an empty data directory and a small
// ladder, until the end of the test.
func start(t *testing.T, changes ...func(*config.Config)) *server {
	t.Helper()
	s := prepare(t, changes...)
	if err := s.launch(); err != nil {
		t.Fatalf("the daemon does not start: %v", err)
	}
	return s
}

// prepare makes a server that is not started yet.
func prepare(t *testing.T, changes ...func(*config.Config)) *server {
	t.Helper()
	path, err := codecPath()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.HTTP.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Codec.Path = path
	c.Ladder.Widths = []int{64, 128}
	c.Storage.MinFree = 1 // the disk of whoever runs this may be nearly full
	for _, change := range changes {
		change(&c)
	}
	if c.Storage.Dir == config.Default().Storage.Dir {
		c.Storage.Dir = t.TempDir()
	}
	if err := c.Validate(); err != nil {
		t.Fatalf("the test's configuration is not one that a user could have: %v", err)
	}
	return &server{client: client{t: t, config: c, began: time.Now().Truncate(time.Second)}}
}

// patient is c with default time limits raised above patience, which is more
// than a user may configure: on a slow machine an upload waits longer for its
// work, and a client pauses longer, than the defaults allow.
func patient(c config.Config) config.Config {
	standard := config.Default()
	for limit, usual := range map[*time.Duration]time.Duration{
		&c.HTTP.SyncWait: standard.HTTP.SyncWait, &c.HTTP.BodyIdle: standard.HTTP.BodyIdle, &c.Codec.Timeout: standard.Codec.Timeout,
	} {
		if *limit == usual {
			*limit = 2 * patience
		}
	}
	return c
}

func (s *server) launch() error {
	core, logs := observer.New(zapcore.DebugLevel)
	ctx, cancel := context.WithCancel(context.Background())
	log := zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if hook := s.hooks[e.Message]; hook != nil {
			hook()
		}
		return nil
	}))
	d, err := daemon.New(ctx, patient(s.config), log)
	s.logs = logs
	if err != nil {
		cancel()
		return err
	}
	s.url, s.adminURL = d.URL(), d.AdminURL()
	s.cancel, s.ended = cancel, make(chan struct{})
	go func() {
		defer close(s.ended)
		s.err = d.Run(ctx)
	}()
	s.t.Cleanup(func() {
		s.stop()
		if s.t.Failed() {
			for _, e := range logs.FilterLevelExact(zapcore.ErrorLevel).All() {
				s.t.Logf("daemon's log: %s %v", e.Message, e.ContextMap())
			}
		}
	})
	s.connect()
	return nil
}

// stop does what SIGTERM does, and returns when the daemon has ended.
func (s *server) stop() {
	s.t.Helper()
	s.cancel()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatal("the daemon does not stop")
	}
	if s.err != nil {
		s.t.Errorf("Run returned %v, want nil", s.err)
	}
}

// sameDir is the change that starts a daemon on the data directory of c.
func (c *client) sameDir(other *config.Config) { other.Storage.Dir = c.config.Storage.Dir }

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not so: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// answer is a response that was read whole.
type answer struct {
	*http.Response
	body []byte
}

// option changes a request.
type option func(*http.Request)

func header(name, value string) option {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

// request sends a request, by path or by whole URL.
func (c *client) request(method, path string, body io.Reader, options ...option) answer {
	c.t.Helper()
	a, err := c.try(method, path, body, options...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is request for goroutines other than the test'c.
func (c *client) try(method, path string, body io.Reader, options ...option) (answer, error) {
	url := path
	if strings.HasPrefix(path, "/") {
		url = c.url + path
	}
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return answer{}, err
	}
	for _, o := range options {
		o(r)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res, b}, err
}

func (c *client) get(path string, options ...option) answer {
	c.t.Helper()
	return c.request(http.MethodGet, path, nil, options...)
}

// upload sends a picture as a raw body.
func (c *client) upload(picture []byte, options ...option) answer {
	c.t.Helper()
	return c.request(http.MethodPost, "/v1/images", bytes.NewReader(picture), options...)
}

// metric is the value of a series on the admin listener, 0 if there is none.
func (c *client) metric(series string) float64 {
	c.t.Helper()
	res, err := http.Get(c.adminURL + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(b)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		c.t.Fatalf("metric %s: %v", series, err)
	}
	return v
}

// logged is how many lines of the daemon's log have this message.
func (s *server) logged(message string) int { return s.logs.FilterMessage(message).Len() }

// path is a path in the data folder.
func (c *client) path(elem ...string) string {
	return filepath.Join(append([]string{c.config.Storage.Dir}, elem...)...)
}

// names lists a folder of the data folder.
func (c *client) names(elem ...string) []string {
	c.t.Helper()
	entries, err := os.ReadDir(c.path(elem...))
	if err != nil {
		c.t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// leftovers are the files of uploads and jobs.
func (c *client) leftovers() []string {
	c.t.Helper()
	var left []string
	for _, dir := range []string{"spool", "queue/pending", "queue/running", "queue/done", "queue/failed", "files", "files/.staging"} {
		for _, name := range c.names(dir) {
			if name != ".staging" {
				left = append(left, dir+"/"+name)
			}
		}
	}
	return left
}

// nothingLeft waits until no upload and no job has a file. What is not needed
// any more is deleted just after the answer.
func (c *client) nothingLeft() {
	c.t.Helper()
	c.goes("files of uploads", c.leftovers)
}

// emptied waits until there is nothing in a directory of the data directory.
func (c *client) emptied(elem ...string) {
	c.t.Helper()
	c.goes(filepath.Join(elem...), func() []string { return c.names(elem...) })
}

func (c *client) goes(what string, left func() []string) {
	c.t.Helper()
	var names []string
	deadline := time.Now().Add(patience)
	for names = left(); len(names) > 0 && time.Now().Before(deadline); names = left() {
		time.Sleep(5 * time.Millisecond)
	}
	if len(names) > 0 {
		c.t.Fatalf("%s are left behind: %v", what, names)
	}
}

// serves makes a good upload, checks its set, and deletes that again.
func (c *client) serves() {
	c.t.Helper()
	c.makes(small(c.t, 1<<40))
}

// makes has a good image made, checks its set, and deletes that again.
func (c *client) makes(source []byte) {
	c.t.Helper()
	a, err := c.send(source)
	if err != nil {
		c.t.Fatal(err)
	}
	if a.StatusCode != http.StatusCreated {
		c.t.Fatalf("a good upload: got %s %s, want 201", a.Status, a.body)
	}
	m, err := c.whole(a, source)
	if err == nil {
		err = c.remove(m.ID)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// codecs are the process ids of the daemon's children so far, first the
// oldest.
func (s *server) codecs() []int {
	var pids []int
	for _, e := range s.logs.FilterMessage("codec started").All() {
		pids = append(pids, int(e.ContextMap()["pid"].(int64)))
	}
	return pids
}

// freeze stops the one codec process in its tracks, so that the next job stays
// in work until thaw is called or the process is killed.
func (s *server) freeze() (pid int, thaw func()) {
	s.t.Helper()
	pids := s.codecs()
	pid = pids[len(pids)-1]
	s.signal(pid, syscall.SIGSTOP)
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) } // it may have been killed since
	s.t.Cleanup(thaw)
	return pid, thaw
}

func (s *server) signal(pid int, signal syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		s.t.Fatalf("send %v to codec process %d: %v", signal, pid, err)
	}
}

// oneCodec has all jobs go through one process.
func oneCodec(c *config.Config) { c.Codec.Processes = 1 }

// working waits until so many jobs are in work and so many wait.
func (s *server) working(running, pending int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d jobs in work and %d waiting", running, pending), func() bool {
		return s.metric("optimizerd_jobs_running") == float64(running) && s.metric("optimizerd_jobs_pending") == float64(pending)
	})
}
