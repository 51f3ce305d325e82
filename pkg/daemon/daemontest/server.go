package daemontest

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon"
)

// Server is a daemon in the test's process, and a client of it.
type Server struct {
	Client
	Logs   *observer.ObservedLogs
	Hooks  map[string]func()  // by the message of a log line, called before the daemon continues
	Cancel context.CancelFunc // like SIGTERM, without waiting
	ended  chan struct{}      // closed when Run has returned
	err    error              // of Run, once ended is closed
}

// Start runs a daemon on free ports, with an empty data directory and a small
// ladder, until the end of the test.
func Start(t *testing.T, changes ...func(*config.Config)) *Server {
	t.Helper()
	s := Prepare(t, changes...)
	if err := s.Launch(); err != nil {
		t.Fatalf("the daemon does not start: %v", err)
	}
	return s
}

// Prepare creates a server without starting it.
func Prepare(t *testing.T, changes ...func(*config.Config)) *Server {
	t.Helper()
	path, err := Codec()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.HTTP.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Codec.Path = path
	c.Ladder.Widths = []int{64, 128}
	c.Storage.MinFree = 1 // the disk of a developer may be nearly full
	for _, change := range changes {
		change(&c)
	}
	if c.Storage.Dir == config.Default().Storage.Dir {
		c.Storage.Dir = t.TempDir()
	}
	if err := c.Validate(); err != nil {
		t.Fatalf("the test's configuration is invalid: %v", err)
	}
	return &Server{Client: Client{T: t, Config: c, began: time.Now().Truncate(time.Second)}}
}

// patient returns c with default time limits raised above patience, which is more
// than a user may configure: on a slow machine uploads wait, and clients pause,
// longer than the defaults allow.
func patient(c config.Config) config.Config {
	standard := config.Default()
	for limit, usual := range map[*time.Duration]time.Duration{
		&c.HTTP.SyncWait: standard.HTTP.SyncWait, &c.HTTP.BodyIdle: standard.HTTP.BodyIdle, &c.Codec.Timeout: standard.Codec.Timeout,
	} {
		if *limit == usual {
			*limit = 2 * Patience
		}
	}
	return c
}

// Launch starts a prepared server.
func (s *Server) Launch() error {
	core, logs := observer.New(zapcore.DebugLevel)
	ctx, cancel := context.WithCancel(context.Background())
	log := zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if hook := s.Hooks[e.Message]; hook != nil {
			hook()
		}
		return nil
	}))
	d, err := daemon.New(ctx, patient(s.Config), log)
	s.Logs = logs
	if err != nil {
		cancel()
		return err
	}
	s.URL, s.AdminURL = d.URL(), d.AdminURL()
	s.Cancel, s.ended = cancel, make(chan struct{})
	go func() {
		defer close(s.ended)
		s.err = d.Run(ctx)
	}()
	s.T.Cleanup(func() {
		s.Stop()
		if s.T.Failed() {
			for _, e := range logs.FilterLevelExact(zapcore.ErrorLevel).All() {
				s.T.Logf("daemon's log: %s %v", e.Message, e.ContextMap())
			}
		}
	})
	s.connect()
	return nil
}

// Stop stops the daemon like SIGTERM, and returns when it has ended.
func (s *Server) Stop() {
	s.T.Helper()
	s.Cancel()
	select {
	case <-s.ended:
	case <-time.After(Patience):
		s.T.Fatal("the daemon does not stop")
	}
	if s.err != nil {
		s.T.Errorf("Run returned %v, want nil", s.err)
	}
}

// Logged returns the number of lines of the daemon's log with this message.
func (s *Server) Logged(message string) int { return s.Logs.FilterMessage(message).Len() }

// Codecs returns the process ids of the daemon's children so far, oldest first.
func (s *Server) Codecs() []int {
	var pids []int
	for _, e := range s.Logs.FilterMessage("codec started").All() {
		pids = append(pids, int(e.ContextMap()["pid"].(int64)))
	}
	return pids
}

// Freeze stops the only codec process, so that the next job stays in progress until
// thaw is called or the process is killed.
func (s *Server) Freeze() (pid int, thaw func()) {
	s.T.Helper()
	pids := s.Codecs()
	pid = pids[len(pids)-1]
	s.SignalCodec(pid, syscall.SIGSTOP)
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) } // it may have been killed
	s.T.Cleanup(thaw)
	return pid, thaw
}

// SignalCodec sends a signal to a codec process.
func (s *Server) SignalCodec(pid int, signal syscall.Signal) {
	s.T.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		s.T.Fatalf("send %v to codec process %d: %v", signal, pid, err)
	}
}

// OneCodec runs all jobs in one process.
func OneCodec(c *config.Config) { c.Codec.Processes = 1 }

// AwaitJobs waits until these numbers of jobs are running and waiting.
func (s *Server) AwaitJobs(running, pending int) {
	s.T.Helper()
	Eventually(s.T, fmt.Sprintf("%d jobs in work and %d waiting", running, pending), func() bool {
		return s.Metric("optimizerd_jobs_running") == float64(running) && s.Metric("optimizerd_jobs_pending") == float64(pending)
	})
}
