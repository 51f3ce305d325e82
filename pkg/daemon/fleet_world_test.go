//go:build fleet

package daemon_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// member is a node that is a process of its own. It is started again whenever it has
// ended, as systemd does.
type member struct {
	name    string
	program string
	args    []string
	log     string // a file

	mu      sync.Mutex
	cmd     *exec.Cmd
	url     string // "" while it does not serve
	starts  int
	stopped bool
	ended   chan struct{} // closed when it is not started again
}

// twin is the name of the stand-in's file that makes other bytes.
const twin = "standin-twin"

// standin returns the path of the stand-in, under another name if that is not "".
func standin(t *testing.T, name string) string {
	t.Helper()
	path, err := daemontest.Standin()
	if err != nil {
		t.Fatal(err)
	}
	if name == "" {
		return path
	}
	other := filepath.Join(t.TempDir(), name)
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	return other
}

// startMember starts a node with these settings over nodeSettings, until the end of
// the test. It returns at once: see awaitServing.
func startMember(t *testing.T, program, name string, servers *fleettest.Cluster, store string, settings ...string) *member {
	t.Helper()
	dir := t.TempDir()
	m := &member{name: name, program: program, args: []string{"serve"}, log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	settings = append(append([]string{
		"http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "http.sync_wait=90s", "http.body_idle=90s", "storage.min_free=1", "log.format=json",
		"storage.dir=" + filepath.Join(dir, "data"), "codec.path=" + standin(t, ""), "ladder.formats=jpeg", "fetch.allow_private=true", "webhook.secrets_file=" + secretsFile(t),
	}, nodeSettings(t, name, servers, store)...), settings...)
	for _, s := range settings {
		m.args = append(m.args, "--set", s)
	}
	go m.supervise()
	t.Cleanup(func() {
		m.stop(syscall.SIGKILL)
		if t.Failed() {
			showErrors(t, m)
		}
	})
	return m
}

func secretsFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "webhook-secrets")
	if err := os.WriteFile(path, []byte(secrets[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// showErrors prints the last warnings and errors of a node's log.
func showErrors(t *testing.T, m *member) {
	t.Helper()
	var lines []string
	for line := range bytes.Lines(daemontest.ReadFile(t, m.log)) {
		if !bytes.Contains(line, []byte(`"level":"info"`)) && !bytes.Contains(line, []byte(`"level":"debug"`)) {
			lines = append(lines, string(bytes.TrimSpace(line)))
		}
	}
	for _, line := range lines[max(0, len(lines)-25):] {
		t.Logf("%s: %s", m.name, line)
	}
}

func (m *member) supervise() {
	defer close(m.ended)
	for m.run() {
	}
}

// run starts the node and returns when it has ended, and whether it is to be started
// again.
func (m *member) run() (again bool) {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer log.Close()
	cmd := exec.Command(m.program, m.args...)
	cmd.Env = append(os.Environ(), config.FileVariable+"=") // ignore this machine's configuration
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		return false
	}
	err = cmd.Start()
	m.cmd = cmd
	m.starts++
	m.mu.Unlock()
	if err != nil {
		panic(err)
	}
	lines := bufio.NewReader(stdout)
	line, _ := lines.ReadString('\n') // "" if it has ended
	if url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening "); ok {
		m.setURL(url)
	}
	_, _ = io.Copy(io.Discard, lines) // until it has ended
	m.setURL("")
	_ = cmd.Wait() // it may have been killed
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.stopped
}

func (m *member) setURL(url string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.url = url
}

// serving returns the node's URL, "" while it does not serve.
func (m *member) serving() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.url
}

// signal sends a signal to the process that runs now.
func (m *member) signal(s syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s == syscall.SIGKILL {
		m.url = ""
	}
	_ = m.cmd.Process.Signal(s) // it may have ended
}

// pid is the id of the process that runs now.
func (m *member) pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cmd.Process.Pid
}

// stop ends the node for good, and returns when it has ended.
func (m *member) stop(s syscall.Signal) {
	m.mu.Lock()
	m.stopped = true
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(s) // it may have ended
		if s == syscall.SIGKILL {
			_ = m.cmd.Process.Signal(syscall.SIGCONT)
		}
	}
	m.mu.Unlock()
	<-m.ended
}

// awaitServing waits until all nodes serve.
func awaitServing(t *testing.T, members ...*member) {
	t.Helper()
	for _, m := range members {
		daemontest.Eventually(t, m.name+" serves", func() bool { return m.serving() != "" })
	}
}

// logged counts the lines of the node's log with this message.
func (m *member) logged(t *testing.T, message string) int {
	t.Helper()
	return bytes.Count(daemontest.ReadFile(t, m.log), fmt.Appendf(nil, `"msg":%q`, message))
}

// outside is what is around a fleet: an origin of images, and a receiver.
type outside struct {
	t        *testing.T
	client   *http.Client
	origin   *httptest.Server
	receiver *httptest.Server
	base     []byte // a JPEG

	mu    sync.Mutex
	hooks map[string]map[string]int // by path and job, then by id: how often they came
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	o := &outside{
		t: t, client: &http.Client{Transport: transport, Timeout: daemontest.Patience},
		base: daemontest.SmallJPEG(t, 1), hooks: make(map[string]map[string]int),
	}
	o.origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/jpeg")
		_, _ = w.Write(o.source(strings.Trim(r.URL.Path, "/"))) // to a node that is killed
	}))
	o.receiver = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, err := read(r)
		if err != nil || len(got.signedBy) == 0 {
			return // cut off by a kill
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		key := r.URL.Path + " " + got.Data.ID
		if o.hooks[key] == nil {
			o.hooks[key] = make(map[string]int)
		}
		o.hooks[key][got.id]++
	}))
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		o.origin.Close()
		o.receiver.Close()
	})
	return o
}

// source is the image of this name: what follows its end is no part of the image.
func (o *outside) source(name string) []byte { return fmt.Appendf(bytes.Clone(o.base), "%s.", name) }

// delivered returns how often the webhook of a job came to a path, and under how
// many ids.
func (o *outside) delivered(path, jobID string) (times, ids int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.hooks[path+" "+jobID] {
		times += n
		ids++
	}
	return times, ids
}

// try sends a request and reads its answer.
func (o *outside) try(method, url string, body []byte, options ...daemontest.Option) (daemontest.Answer, error) {
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return daemontest.Answer{}, err
	}
	for _, option := range options {
		option(r)
	}
	res, err := o.client.Do(r)
	if err != nil {
		return daemontest.Answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return daemontest.Answer{Response: res, Body: b}, err
}

// arena is a fleet with its servers, its store and what is around it.
type arena struct {
	*outside

	store   *s3test.Server
	proxy   *s3test.Proxy // before the store
	servers *fleettest.Cluster
	members []*member

	mu      sync.Mutex
	givenUp int            // jobs that failed with their third start
	refused map[string]int // answers that had a client try again
}

// newArena starts so many NATS servers and a store.
func newArena(t *testing.T, servers int) *arena {
	t.Helper()
	return newArenaOn(t, fleettest.Start(t, servers))
}

func newArenaOn(t *testing.T, servers *fleettest.Cluster) *arena {
	t.Helper()
	s := &arena{outside: newOutside(t), store: s3test.Start(t), servers: servers, refused: make(map[string]int)}
	s.proxy = s3test.NewProxy(t, s.store)
	return s
}

// join starts one more node.
func (s *arena) join(settings ...string) *member {
	s.t.Helper()
	program, err := daemontest.Optimizerd()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.run(program, settings...)
}

// run is join for any build of optimizerd.
func (s *arena) run(program string, settings ...string) *member {
	s.t.Helper()
	m := startMember(s.t, program, fmt.Sprintf("node-%d", len(s.members)+1), s.servers, s.proxy.URL, append([]string{"ladder.widths=16,24,32,64", "log.level=debug"}, settings...)...)
	s.members = append(s.members, m)
	return m
}

// insist sends a request to any node, and to others while it is cut off or refused
// for the moment.
func (s *arena) insist(random *rand.Rand, send func(node string) (daemontest.Answer, error)) (daemontest.Answer, error) {
	deadline := time.Now().Add(daemontest.Patience)
	for time.Now().Before(deadline) {
		why := "no node"
		if node := s.members[random.IntN(len(s.members))].serving(); node != "" {
			a, err := send(node)
			why = "cut off"
			if err == nil {
				code := fault.Code(a.Code())
				if !slices.Contains([]fault.Code{fault.Unavailable, fault.QueueFull, fault.ShuttingDown}, code) {
					return a, nil
				}
				why = string(code)
			}
		}
		s.mu.Lock()
		s.refused[why]++
		s.mu.Unlock()
		time.Sleep(pause)
	}
	return daemontest.Answer{}, errors.New("no node takes it")
}

// follow asks any node for a job until that has ended. A job that was given up is
// requested again, as its client would.
func (s *arena) follow(random *rand.Rand, id, name string) (again bool, err error) {
	deadline := time.Now().Add(daemontest.Patience)
	for time.Now().Before(deadline) {
		a, err := s.insist(random, func(node string) (daemontest.Answer, error) {
			return s.try(http.MethodGet, node+"/jobs/"+id, nil, daemontest.Header("Prefer", "wait=2"))
		})
		if err != nil {
			return false, err
		}
		var j jobNews
		if err := json.Unmarshal(a.Body, &j); err != nil || a.StatusCode != http.StatusOK {
			return false, fmt.Errorf("job %s: got %s %s", id, a.Status, a.Body)
		}
		switch {
		case j.Status == "completed":
			return false, s.checkManifest(j.Output.Manifest, name)
		case j.Status == "failed" && strings.Contains(string(a.Body), "attempts ended without a result"):
			s.mu.Lock()
			s.givenUp++
			s.mu.Unlock()
			return true, nil
		case j.Status == "failed":
			return false, fmt.Errorf("job %s failed: %s", id, a.Body)
		}
	}
	return false, fmt.Errorf("job %s has not ended", id)
}

// checkManifest checks that a set is that of an image, and whole.
func (s *arena) checkManifest(m manifest.Manifest, name string) error {
	if sum := sha256.Sum256(s.source(name)); m.Source.SHA256 != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("the set %s is of another image than %s", m.ID, name)
	}
	return setOnDisk(s.store, m.ID)
}

// checkSet compares the files of a set with its manifest.
func checkSet(id string, read func(name string) ([]byte, error)) error {
	b, err := read(manifest.FileName)
	if err != nil {
		return err
	}
	m, err := manifest.Decode(b)
	if err != nil {
		return fmt.Errorf("set %s: %w", id, err)
	}
	for _, v := range m.Variants {
		file, err := read(strings.TrimPrefix(v.Key, id+"/"))
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(file); int64(len(file)) != v.Bytes || hex.EncodeToString(sum[:]) != v.SHA256 {
			return fmt.Errorf("%s does not match its manifest", v.Key)
		}
	}
	return nil
}

// setOnDisk reports what is wrong with a set, by the files of the store.
func setOnDisk(store *s3test.Server, id string) error {
	dir := filepath.Join(store.Dir, s3test.BucketName, id)
	return checkSet(id, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) })
}

// pause is between two tries of a client that was refused.
const pause = 50 * time.Millisecond
