// Package servertest runs servers of other projects for tests, as
// processes. Their binaries must have been built into bin/.
package servertest

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Process is a server that can be killed and started again.
type Process struct {
	t      testing.TB
	args   []string
	health string // URL, which answers with 200 once it serves
	cmd    *exec.Cmd
	log    *bytes.Buffer
}

// New returns a server that has not started. It is killed when the test ends. args
// are its command line, after the name of its program, which is also that of the
// make target that builds it.
func New(t testing.TB, program, health string, args ...string) *Process {
	t.Helper()
	path := filepath.Join(moduleRoot(t), "bin", program)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: build it with: make %s", err, program)
	}
	p := &Process{t: t, args: append([]string{path}, args...), health: health}
	t.Cleanup(p.Down)
	return p
}

// Start starts the server, again after Down, and returns at once.
func (p *Process) Start() {
	p.t.Helper()
	p.log = new(bytes.Buffer)
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// AwaitReady returns when the server serves.
func (p *Process) AwaitReady() {
	p.t.Helper()
	// It has no other sign of being ready than an answer. The limit only keeps a failure
	// from hanging.
	for limit := time.Now().Add(3 * time.Minute); time.Now().Before(limit); {
		res, err := http.Get(p.health)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.Down()
	p.t.Fatalf("%s is not ready:\n%s", filepath.Base(p.args[0]), p.log)
}

// Up is Start and AwaitReady.
func (p *Process) Up() {
	p.t.Helper()
	p.Start()
	p.AwaitReady()
}

// Down kills the server.
func (p *Process) Down() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
	p.cmd = nil
}

// Pid returns the process id of a server that runs.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// moduleRoot returns the directory of go.mod.
func moduleRoot(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// FreeAddress returns a loopback address that nothing listens on. Its host is one that
// nobody else uses, so that nothing is given its port before its user listens there, or
// while that is started again.
func FreeAddress(t testing.TB) string {
	t.Helper()
	host := net.IPv4(127, byte(1+rand.N(254)), byte(rand.N(256)), byte(1+rand.N(254)))
	l, err := net.Listen("tcp", net.JoinHostPort(host.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
