package daemontest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
)

// Process is a daemon in a separate process, and a client of it.
type Process struct {
	Client
	LogFile string // a file
	Cmd     *exec.Cmd
	Ended   chan struct{} // closed after Wait
	stopped bool          // by the test
}

// StartProcess starts a daemon with these settings, KEY=VALUE, until the end of
// the test. Unlike with the defaults, its uploads may wait and pause for the longest
// configurable time.
func StartProcess(t *testing.T, settings ...string) *Process {
	t.Helper()
	path, err := Optimizerd()
	if err != nil {
		t.Fatal(err)
	}
	codec, err := Codec()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	settings = append([]string{
		"http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "http.sync_wait=90s", "http.body_idle=90s",
		"storage.min_free=1", "log.format=json",
		"storage.dir=" + filepath.Join(dir, "data"), "codec.path=" + codec,
	}, settings...)
	c, err := config.Load("", settings)
	if err != nil {
		t.Fatalf("the test's configuration is invalid: %v", err)
	}
	p := &Process{Client: Client{T: t, Config: c, began: time.Now().Truncate(time.Second)}, LogFile: filepath.Join(dir, "log"), Ended: make(chan struct{})}
	args := []string{"serve"}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	log, err := os.Create(p.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.Cmd = exec.Command(path, args...)
	p.Cmd.Env = append(os.Environ(), config.FileVariable+"=") // ignore this machine's configuration
	p.Cmd.Stderr = log
	stdout, err := p.Cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		defer close(p.Ended)
		_ = p.Cmd.Wait() // ProcessState has the result
	}()
	t.Cleanup(func() {
		p.Stop()
		http.DefaultClient.CloseIdleConnections()
		if t.Failed() {
			p.showLog()
		}
	})
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !ok {
		t.Fatalf("the daemon printed %q, %v; want its address", line, err)
	}
	p.URL, p.AdminURL = url, p.findAdminURL()
	p.connect()
	return p
}

// findAdminURL returns the admin listener's URL from the log.
func (p *Process) findAdminURL() string {
	p.T.Helper()
	b, err := os.ReadFile(p.LogFile)
	if err != nil {
		p.T.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var entry struct{ Msg, Admin string }
		if json.Unmarshal(line, &entry) == nil && entry.Admin != "" {
			return entry.Admin
		}
	}
	p.T.Fatalf("the log does not say where /metrics is:\n%s", b)
	return ""
}

// showLog prints the last warnings and errors of the log.
func (p *Process) showLog() {
	b, err := os.ReadFile(p.LogFile)
	if err != nil {
		p.T.Error(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, `"level":"info"`) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	for _, line := range lines[max(0, len(lines)-40):] {
		p.T.Logf("daemon's log: %s", line)
	}
}

// Stop stops the daemon, and fails the test unless it exits with 0.
func (p *Process) Stop() {
	p.T.Helper()
	if p.stopped {
		return
	}
	select {
	case <-p.Ended:
		p.T.Errorf("the daemon ended by itself: %v", p.Cmd.ProcessState)
		return
	default:
	}
	p.Interrupt()
	select {
	case <-p.Ended:
		if !p.Cmd.ProcessState.Success() {
			p.T.Errorf("the daemon ended with %v, want 0", p.Cmd.ProcessState)
		}
	case <-time.After(Patience):
		p.T.Errorf("the daemon does not stop")
		_ = p.Cmd.Process.Kill()
		<-p.Ended
	}
}

// Interrupt sends SIGTERM.
func (p *Process) Interrupt() {
	p.T.Helper()
	p.stopped = true
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.T.Error(err)
	}
}

// Kill kills the daemon like a power cut; Ended is closed soon after.
func (p *Process) Kill() {
	p.stopped = true
	if err := p.Cmd.Process.Kill(); err != nil {
		p.T.Error(err)
	}
}

// Quarantined returns the daemon's quarantine.
func (p *Process) Quarantined() map[string]quarantine.Entry {
	p.T.Helper()
	store, err := quarantine.Open(p.Path(quarantine.Folder), "")
	if err != nil {
		p.T.Fatal(err)
	}
	list, err := store.List()
	if err != nil {
		p.T.Fatal(err)
	}
	entries := make(map[string]quarantine.Entry)
	for _, e := range list {
		entries[e.SHA256] = e
	}
	return entries
}

// Children returns the running codec processes.
func (p *Process) Children() (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.Cmd.Process.Pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list) // an ended thread has none
		for _, field := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// SignalChild sends a signal to a child, but not to another process that has reused
// its id.
func (p *Process) SignalChild(pid int, signal syscall.Signal) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	for _, child := range p.Children() {
		if child == pid {
			return unix.PidfdSendSignal(fd, signal, nil, 0) == nil
		}
	}
	return false
}

// ReadFile reads a file, or fails the test.
func ReadFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
