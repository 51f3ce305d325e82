package codec

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Crash is the error of a job whose child died, ran out of memory or time, or
// spoke out of turn. It says nothing about the picture: another try may
// succeed.
type Crash struct{ Reason string }

func (c *Crash) Error() string { return "codec process: " + c.Reason }

// Unavailable is the error of a job for which no child would start: nothing was
// tried, and later it may work.
type Unavailable struct{ Cause error }

func (u *Unavailable) Error() string { return u.Cause.Error() }

// Unwrap returns why the child did not start.
func (u *Unavailable) Unwrap() error { return u.Cause }

const (
	helloTimeout = 15 * time.Second // for libvips to start, and for each part of its self-test: all take 0.1 s, on a busy Pi some seconds
	exitTimeout  = 2 * time.Second  // from closing the socket of an idle child to its end
	reapTimeout  = 10 * time.Second // from the child's end of the socket being closed to the child's own end
)

// process is one child, as its parent sees it.
type process struct {
	cmd    *exec.Cmd
	conn   *net.UnixConn
	in     input
	r      *bufio.Reader // of in
	about  About
	jobs   int           // that it has rendered
	exited chan struct{} // closed when it is reaped
}

// spawn runs a child. It is called on a thread that lives as long as the pool:
// the kernel kills the child when that thread ends. reaped is called when the
// child has ended.
func spawn(c Config, w workarounds, log *zap.Logger, reaped func(*os.ProcessState)) (*process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(c.Path, "-threads", strconv.Itoa(c.Threads), "-memory", strconv.FormatInt(c.Memory, 10), "-off", strings.Join(w.off, ","))
	cmd.Args[0] = program
	cmd.Env = childEnv(w.noVector)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &lineLog{log: log}
	cmd.WaitDelay = exitTimeout
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // Ctrl-C is the parent's to handle
		Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p := &process{cmd: cmd, conn: ours, in: input{r: ours}, exited: make(chan struct{})}
	p.r = bufio.NewReader(&p.in)
	go func() {
		_ = cmd.Wait() // cmd.ProcessState says how it ended
		reaped(cmd.ProcessState)
		close(p.exited)
	}()
	return p, nil
}

// selfTestCrash is the end of a child that had not greeted yet.
type selfTestCrash struct {
	Crash
	part string // of the self-test that it was at; "" before the first
}

// greet hears the child's self-test and its greeting. After an error it is
// dead.
func (p *process) greet(ctx context.Context, version string) error {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	defer func() { _ = p.conn.SetReadDeadline(time.Time{}) }()
	part := ""
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(helloTimeout)) // a socket has deadlines
		m, err := readReply(p.r)
		switch {
		case err != nil:
			crash := &selfTestCrash{part: part, Crash: *p.crash(err)}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				crash.Reason = fmt.Sprintf("no message for %v", helloTimeout)
			}
			return crash
		case m.Testing != nil:
			part = *m.Testing
		case m.Hello != nil:
			p.about = *m.Hello
			if err := p.about.check(version); err != nil {
				p.kill()
				return err
			}
			return nil
		default:
			p.kill()
			return &Crash{"unexpected message before its greeting"}
		}
	}
}

func (c *selfTestCrash) Error() string {
	if c.part == "" {
		return c.Crash.Error()
	}
	return fmt.Sprintf("%s in its self-test (%s)", c.Crash.Error(), c.part)
}

// render has the child make one ladder. After any error but a fault that the
// child itself reports, the child is dead.
func (p *process) render(src *os.File, m request, sink ladder.Sink) (ladder.Summary, error) {
	p.jobs++
	if err := sendRequest(p.conn, m, src); err != nil {
		return ladder.Summary{}, p.crash(err)
	}
	state := replyState{recipe: m.Recipe}
	for {
		got, err := readReply(p.r)
		if err == nil {
			err = state.validate(got)
		}
		if err != nil {
			return ladder.Summary{}, p.crash(err)
		}
		switch {
		case got.Opened != nil:
			err = sink.Opened(*got.Opened)
		case got.Variant != nil:
			err = p.variant(*got.Variant, sink)
		case got.Failed != nil && got.Failed.Code == fault.ProcessingFailed:
			p.kill()
			return ladder.Summary{}, &Crash{got.Failed.Detail}
		case got.Failed != nil:
			return ladder.Summary{}, got.Failed.fault()
		case got.Done != nil:
			return *got.Done, nil
		}
		if err != nil { // the sink's own error, or that of a child that died while it read
			var crash *Crash
			if p.in.err != nil && !errors.As(err, &crash) {
				err = p.crash(p.in.err)
			}
			p.kill()
			return ladder.Summary{}, err
		}
	}
}

// input is what the child says. It remembers why it ended, however far that
// error travels.
type input struct {
	r   io.Reader
	err error
}

func (in *input) Read(b []byte) (int, error) {
	n, err := in.r.Read(b)
	if err != nil {
		in.err = err
	}
	return n, err
}

// variant passes a file on, if it begins like one of its format.
func (p *process) variant(v ladder.Variant, sink ladder.Sink) error {
	head, err := p.r.Peek(int(min(magicSize, v.Bytes)))
	if err != nil {
		return err
	}
	if !hasMagic(v.Format, head) {
		return &Crash{fmt.Sprintf("%s does not start with its format's signature", v.Name())}
	}
	body := &io.LimitedReader{R: p.r, N: v.Bytes}
	if err := sink.Variant(v, body); err != nil {
		return err
	}
	if body.N > 0 {
		return fmt.Errorf("%d bytes of %s were not read", body.N, v.Name())
	}
	return nil
}

// magicSize is how many bytes hasMagic wants.
const magicSize = 12

// hasMagic reports whether a file begins like one of the format.
func hasMagic(f ladder.Format, head []byte) bool {
	is := func(at int, want string) bool {
		return len(head) >= at+len(want) && string(head[at:at+len(want)]) == want
	}
	switch f {
	case ladder.JPEG:
		return is(0, "\xff\xd8\xff")
	case ladder.WebP:
		return is(0, "RIFF") && is(8, "WEBP")
	case ladder.AVIF:
		return is(4, "ftypavif")
	default:
		return false
	}
}

// turn is what a child may say next.
type replyState struct {
	recipe  ladder.Recipe
	opened  bool
	planned []ladder.Variant // and not yet sent
}

// allow reports what is wrong with a reply at this point. A child can only
// send the variants that follow from the recipe and the size that it claims.
func (s *replyState) validate(m reply) error {
	switch {
	case m.Failed != nil:
		if !slices.Contains(ownFaults, m.Failed.Code) {
			return fmt.Errorf("child reported %.40q, a code it may not use", m.Failed.Code)
		}
		return nil
	case m.Opened != nil:
		if s.opened || m.Opened.Width < 1 || m.Opened.Height < 1 || m.Opened.Frames < 1 || !slices.Contains(inputs, m.Opened.Format) {
			return fmt.Errorf("unexpected source: %.10q of %d × %d", m.Opened.Format, m.Opened.Width, m.Opened.Height)
		}
		s.opened = true
		s.planned = s.recipe.Plan(m.Opened.Width, m.Opened.Height).Variants
		return nil
	case m.Variant != nil && s.opened:
		v := *m.Variant
		i := slices.IndexFunc(s.planned, func(p ladder.Variant) bool {
			return p.Format == v.Format && p.Width == v.Width && p.Height == v.Height
		})
		if i < 0 || v.Bytes < 1 || v.Bytes > maxVariant {
			return fmt.Errorf("unplanned variant %.40q of %d bytes", v.Name(), v.Bytes)
		}
		s.planned = slices.Delete(s.planned, i, i+1)
		return nil
	case m.Done != nil && s.opened:
		for _, o := range m.Done.Omitted {
			i := slices.IndexFunc(s.planned, func(p ladder.Variant) bool { return p.Format == o.Format && p.Width == o.Width })
			if i < 0 || o.Reason != ladder.NotSmaller {
				return fmt.Errorf("unplanned omission of %.10q at %d pixels", o.Format, o.Width)
			}
			s.planned = slices.Delete(s.planned, i, i+1)
		}
		if len(m.Done.ThumbHash) > maxThumbHash {
			return fmt.Errorf("ThumbHash of %d bytes is too long", len(m.Done.ThumbHash))
		}
		for stage, took := range m.Done.Timings {
			if !slices.Contains(timed, stage) || took < 0 {
				return fmt.Errorf("invalid time %v for stage %.20q", took, stage)
			}
		}
		if len(s.planned) > 0 {
			return fmt.Errorf("neither variant nor omission of %s", s.planned[0].Name())
		}
		return nil
	default:
		return fmt.Errorf("unexpected message")
	}
}

// inputs are the formats that a child may open, timed the stages that are its
// work, and ownFaults the codes that are its to say: by any other it could have
// the daemon wait for space on the disk, or refuse a client, who has done
// nothing wrong.
var (
	inputs = []string{"jpeg", "png", "webp", "gif", "heic", "avif", "tiff"}
	timed  = []ladder.Stage{
		ladder.StageDecode, ladder.StageOrient, ladder.StageResize, ladder.StageEncodeWebP, ladder.StageEncodeJPEG, ladder.StageEncodeAVIF,
	}
	ownFaults = []fault.Code{
		fault.UnsupportedFormat, fault.CorruptImage, fault.TooManyPixels, fault.TooManyFrames, fault.ProcessingFailed, fault.Internal,
	}
)

// maxThumbHash is the longest that there is, bytes.
const maxThumbHash = 25

// maxVariant is larger than any honest file: a child must not fill the disk.
const maxVariant = 256 << 20

// crash ends the child and says why it was in no state to go on.
func (p *process) crash(cause error) *Crash {
	died := p.ended(cause)
	p.kill()
	if !died {
		return &Crash{cause.Error()}
	}
	if p.cmd.ProcessState.ExitCode() == exitOutOfTime {
		return &Crash{"exceeded its CPU time limit"}
	}
	return &Crash{fmt.Sprintf("ended (%s)", p.cmd.ProcessState)}
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
// before the end of the process that held it, on a busy machine long before.
func (p *process) ended(cause error) bool {
	longest := 100 * time.Millisecond
	if slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE}, func(e error) bool { return errors.Is(cause, e) }) {
		longest = reapTimeout
	}
	select {
	case <-p.exited:
		return true
	case <-time.After(longest):
		return false
	}
}

// kill ends the child at once and reaps it. It may be called again.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.exited
	_ = p.conn.Close()
}

// close lets an idle child end by itself.
func (p *process) close() {
	_ = p.conn.Close()
	select {
	case <-p.exited:
	case <-time.After(exitTimeout):
		p.kill()
	}
}

// stat is what the kernel says of the child.
func (p *process) stat() (procfs.ProcStat, error) {
	proc, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return proc.Stat()
}

// limitCPU gives the child this much processor time from now on. It bounds
// what a child takes that has stopped listening, beside the clock that ends
// its job; a system that forbids setting it has the clock alone.
func (p *process) limitCPU(more time.Duration) {
	stat, err := p.stat()
	if err != nil {
		return
	}
	seconds := uint64(stat.CPUTime()) + uint64(more/time.Second) + 1
	_ = unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_CPU, &unix.Rlimit{Cur: seconds, Max: unix.RLIM_INFINITY}, nil)
}

// lowerPriority makes this thread, and the children that it starts, give way
// to the daemon that answers clients. A system that forbids it has rules of its
// own.
func lowerPriority() {
	const (
		process    = 1 // IOPRIO_WHO_PROCESS
		bestEffort = 2 << 13
		idle       = 3
		lowest     = 7
	)
	if now, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil { // which gives 20 minus the nice value
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-now+niceIncrement)
	}
	if class, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, process, 0, 0); errno == 0 && class>>13 != idle {
		_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, process, 0, bestEffort|lowest)
	}
}

// lower is by how much children are nicer than the daemon.
const niceIncrement = 5

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
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

// childEnv is all of the environment that a child gets: none of the daemon's
// secrets are in it.
func childEnv(noVector bool) []string {
	env := []string{
		// glibc reads its settings only at the start of a process.
		"MALLOC_ARENA_MAX=2",             // halves the peak
		"MALLOC_MMAP_THRESHOLD_=1048576", // what a picture took is given back when it is freed
		"MALLOC_TRIM_THRESHOLD_=8388608", // and not in the middle of the work, which costs 4 % of it
		"MALLOC_TOP_PAD_=1048576",
		"VIPS_DISC_THRESHOLD=100g", // never spill a decode to the SD card: the limits bound it
	}
	if noVector {
		env = append(env, "VIPS_NOVECTOR=1")
	}
	for _, key := range []string{"TMPDIR", "VIPS_NOVECTOR", "VIPS_VECTOR", "LD_LIBRARY_PATH", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}
