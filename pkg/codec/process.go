package codec

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Crash is the error of a job whose child died, ran out of time or spoke out
// of turn. It says nothing about the picture: another try may succeed.
type Crash struct{ Reason string }

func (c *Crash) Error() string { return "codec process: " + c.Reason }

const (
	helloTimeout = 20 * time.Second // starting libvips takes tens of ms, on a busy Pi some seconds
	exitTimeout  = 2 * time.Second  // from closing the socket of an idle child to its end
)

// process is one child, as its parent sees it.
type process struct {
	cmd    *exec.Cmd
	conn   *net.UnixConn
	r      *bufio.Reader
	about  About
	exited chan struct{} // closed when it is reaped
}

// start runs a child and waits for its greeting.
func start(ctx context.Context, c Config, log *zap.Logger) (*process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(c.Path, "-threads", strconv.Itoa(c.Threads))
	cmd.Args[0] = program
	cmd.Env = childEnv()
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &lineLog{log: log}
	cmd.WaitDelay = exitTimeout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is the parent's to handle
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p := &process{cmd: cmd, conn: ours, r: bufio.NewReader(ours), exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // cmd.ProcessState says how it ended
		close(p.exited)
	}()
	if err := p.greet(ctx, c.Version); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

func (p *process) greet(ctx context.Context, version string) error {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { p.kill() })()
	m, err := readReply(p.r)
	if ctx.Err() != nil {
		return fmt.Errorf("%s did not greet within %v: %w", program, helloTimeout, ctx.Err())
	}
	if err != nil {
		return p.crash(err)
	}
	if m.Hello == nil {
		return &Crash{"it spoke out of turn before its greeting"}
	}
	p.about = *m.Hello
	return p.about.check(version)
}

// render has the child make one ladder. After any error but a fault that the
// child itself reports, the child is dead.
func (p *process) render(src *os.File, m request, sink ladder.Sink) (ladder.Summary, error) {
	if err := sendRequest(p.conn, m, src); err != nil {
		return ladder.Summary{}, p.crash(err)
	}
	t := turn{recipe: m.Recipe}
	for {
		got, err := readReply(p.r)
		if err == nil {
			err = t.allow(got)
		}
		if err != nil {
			return ladder.Summary{}, p.crash(err)
		}
		switch {
		case got.Opened != nil:
			err = sink.Opened(*got.Opened)
		case got.Variant != nil:
			body := &io.LimitedReader{R: p.r, N: got.Variant.Bytes}
			if err = sink.Variant(*got.Variant, body); err == nil && body.N > 0 {
				err = fmt.Errorf("%d bytes of %s were not taken", body.N, got.Variant.Name())
			}
		case got.Failed != nil:
			return ladder.Summary{}, got.Failed.fault()
		case got.Done != nil:
			return *got.Done, nil
		}
		if err != nil { // the sink's own error, or that of a child that died while it read
			if p.ended() {
				err = p.crash(err)
			}
			p.kill()
			return ladder.Summary{}, err
		}
	}
}

// turn is what a child may say next.
type turn struct {
	recipe  ladder.Recipe
	opened  bool
	planned []ladder.Variant // and not yet sent
}

// allow reports what is wrong with a reply at this point. A child can only
// send the variants that follow from the recipe and the size that it claims.
func (t *turn) allow(m reply) error {
	switch {
	case m.Failed != nil:
		return nil
	case m.Opened != nil:
		if t.opened || m.Opened.Width < 1 || m.Opened.Height < 1 || m.Opened.Frames < 1 {
			return fmt.Errorf("it opened a picture of %d × %d out of turn", m.Opened.Width, m.Opened.Height)
		}
		t.opened = true
		t.planned = t.recipe.Plan(m.Opened.Width, m.Opened.Height).Variants
		return nil
	case m.Variant != nil && t.opened:
		v := *m.Variant
		i := slices.IndexFunc(t.planned, func(p ladder.Variant) bool {
			return p.Format == v.Format && p.Width == v.Width && p.Height == v.Height
		})
		if i < 0 || v.Bytes < 1 {
			return fmt.Errorf("it sent %.40q of %d bytes, which is not planned", v.Name(), v.Bytes)
		}
		t.planned = slices.Delete(t.planned, i, i+1)
		return nil
	case m.Done != nil && t.opened:
		for _, o := range m.Done.Omitted {
			t.planned = slices.DeleteFunc(t.planned, func(p ladder.Variant) bool {
				return p.Format == o.Format && p.Width == o.Width
			})
		}
		if len(t.planned) > 0 {
			return fmt.Errorf("it left out %s without a word", t.planned[0].Name())
		}
		return nil
	default:
		return fmt.Errorf("it spoke out of turn")
	}
}

// crash ends the child and says why it was in no state to go on.
func (p *process) crash(cause error) error {
	died := p.ended()
	p.kill()
	if died {
		return &Crash{fmt.Sprintf("it ended (%s)", p.cmd.ProcessState)}
	}
	return &Crash{cause.Error()}
}

// alive reports whether the child has not been reaped.
func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ended reports whether the child ended by itself. A broken socket is seen
// before the end of the process that held it, so it waits a little.
func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// kill ends the child at once and reaps it. It may be called again.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.exited
	p.conn.Close()
}

// close lets an idle child end by itself.
func (p *process) close() {
	p.conn.Close()
	select {
	case <-p.exited:
	case <-time.After(exitTimeout):
		p.kill()
	}
}

func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "codec")
	defer file.Close()
	theirs = os.NewFile(uintptr(fds[1]), "codec")
	conn, err := net.FileConn(file)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

// childEnv is all of the environment that a child gets: none of the daemon's
// secrets are in it.
func childEnv() []string {
	env := []string{
		"MALLOC_ARENA_MAX=2",       // halves the peak; glibc reads it only at the start
		"VIPS_DISC_THRESHOLD=100g", // never spill a decode to the SD card: the limits bound it
	}
	for _, key := range []string{"TMPDIR", "VIPS_NOVECTOR", "VIPS_VECTOR", "LD_LIBRARY_PATH", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// lineLog writes each line of a child's standard error to the log.
type lineLog struct {
	log  *zap.Logger
	line []byte
}

// maxLine bounds how much of one line is kept.
const maxLine = 2 << 10

func (l *lineLog) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		l.line = append(l.line, line[:min(len(line), maxLine-len(l.line))]...)
		if ended {
			l.log.Warn("codec says", zap.ByteString("line", l.line))
			l.line = l.line[:0]
		}
		rest = after
	}
	return len(p), nil
}
