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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Crash is the error of a render whose child died, exceeded its memory or time,
// or violated the protocol. It does not blame the image: another attempt may
// succeed.
type Crash struct{ Reason string }

func (c *Crash) Error() string { return "codec process: " + c.Reason }

// Unavailable is the error of a render for which no child could be started.
// Nothing was attempted; it may succeed later.
type Unavailable struct{ Cause error }

func (u *Unavailable) Error() string { return u.Cause.Error() }

// Unwrap returns the cause.
func (u *Unavailable) Unwrap() error { return u.Cause }

// helloTimeout is how long a child may be silent before its greeting without using
// the CPU. Its start and self-test take 0.1 s in total, several seconds on a busy Pi.
var helloTimeout = 15 * time.Second

const (
	helloCPU    = 60               // seconds of CPU time that a child may use before its greeting without a message
	exitTimeout = 2 * time.Second  // from closing the socket of an idle child to its exit
	reapTimeout = 10 * time.Second // from the child's end of the socket being closed to the child's own end
)

// process is the parent's view of one child.
type process struct {
	cmd       *exec.Cmd
	priority  priority
	conn      *net.UnixConn
	in        input
	r         *bufio.Reader // buffers in
	about     About
	idleAt    time.Time     // when its last job, or its start, ended
	idleSince float64       // CPU seconds that it had used by then
	jobs      int           // number of renders
	suspect   bool          // a decoder failed in it: it may be compromised
	exited    chan struct{} // closed once the child is reaped

	doing atomic.Pointer[activity]
}

// spawn starts a child. It must run on a thread that outlives the child,
// because of Pdeathsig. It calls reaped when the child has exited.
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
		Setpgid:   true, // the parent handles Ctrl-C
		Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p := &process{cmd: cmd, conn: ours, in: input{r: ours}, exited: make(chan struct{})}
	p.r = bufio.NewReader(&p.in)
	p.doing.Store(&activity{since: time.Now()})
	go func() {
		_ = cmd.Wait() // the result is in cmd.ProcessState
		reaped(cmd.ProcessState)
		close(p.exited)
	}()
	return p, nil
}

// selfTestCrash is the error of a child that died before its greeting.
type selfTestCrash struct {
	Crash
	part string // part of the self-test in progress; "" before the first
}

// greet reads the child's self-test and greeting. After an error the child is
// dead.
func (p *process) greet(ctx context.Context, version string) error {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	defer func() { _ = p.conn.SetReadDeadline(time.Time{}) }()
	part := ""
	longest := helloTimeout * time.Duration(p.priority.patience())
	for {
		hangs := p.awaitMessage(longest)
		m, err := readReply(p.r)
		switch {
		case err != nil:
			crash := &selfTestCrash{part: part, Crash: *p.crash(err)}
			if hangs {
				crash.Reason = fmt.Sprintf("no message for %v or more", longest)
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

// awaitMessage waits for the next message, for as long as the child works: on a busy
// machine that may take a while. It reports whether the child hangs: for this long it
// sent nothing and used less than a 200th of a core, or it used helloCPU.
func (p *process) awaitMessage(longest time.Duration) (hangs bool) {
	const looks = 5 // within longest
	first, err := p.stat()
	for now, idle := first, 0; err == nil; {
		_ = p.conn.SetReadDeadline(time.Now().Add(longest / looks)) // sockets support deadlines
		if _, err := p.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		last := now
		now, err = p.stat()
		if idle++; now.CPUTime()-last.CPUTime() >= longest.Seconds()/looks/200 {
			idle = 0
		}
		if idle == looks || now.CPUTime()-first.CPUTime() > helloCPU {
			return true
		}
	}
	return false // it is gone, as the next read shows
}

func (c *selfTestCrash) Error() string {
	if c.part == "" {
		return c.Crash.Error()
	}
	return fmt.Sprintf("%s in its self-test (%s)", c.Crash.Error(), c.part)
}

// errNoRoom is the error of a render that may succeed in a fresh child.
var errNoRoom = &Crash{"too little memory is left for this image"}

// render makes the child render one source. After any error except errNoRoom and a
// fault reported by the child, the child is dead.
func (p *process) render(src *os.File, m request, sink ladder.Sink) (ladder.Summary, error) {
	p.jobs++
	if err := sendRequest(p.conn, m, src); err != nil {
		return ladder.Summary{}, p.crash(err)
	}
	state := replyState{recipe: m.Recipe, limits: m.Limits}
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
		case got.Failed != nil:
			return ladder.Summary{}, p.failed(*got.Failed)
		case got.Done != nil:
			return *got.Done, nil
		}
		if err != nil { // the sink's error, or that of a child that died while the sink was reading
			var crash *Crash
			if p.in.err != nil && !errors.As(err, &crash) {
				err = p.crash(p.in.err)
			}
			p.kill()
			return ladder.Summary{}, err
		}
	}
}

// failed returns the error of a render that the child reported as failed.
func (p *process) failed(f failure) error {
	switch f.Code {
	case fault.Unavailable:
		p.suspect = true // or worn out, which has the same effect
		return errNoRoom
	case fault.ProcessingFailed:
		p.kill()
		return &Crash{f.reason()}
	default:
		p.suspect = !slices.Contains(headerFaults, f.Code)
		return f.fault()
	}
}

// input reads from the child and records the first error, which a sink may have
// wrapped or dropped.
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

// variant passes a file to the sink if it starts with its format's signature.
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

// magicSize is the number of bytes that hasMagic needs.
const magicSize = 12

// hasMagic reports whether head starts with the signature of format f.
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

// replyState tracks which replies a child may send next.
type replyState struct {
	recipe  ladder.Recipe
	limits  ladder.Limits
	opened  bool
	frames  int
	planned []ladder.Variant // variants not yet sent
}

// validate returns an error if m is not allowed in the current state. A child
// can only send the variants that follow from the recipe and the size it
// reported.
func (s *replyState) validate(m reply) error {
	switch {
	case m.Failed != nil:
		if noRoom := m.Failed.Code == fault.Unavailable && !s.opened; !noRoom && !slices.Contains(ownFaults, m.Failed.Code) {
			return fmt.Errorf("child reported %.40q, a code it may not use", m.Failed.Code)
		}
		return nil
	case m.Opened != nil:
		return s.open(*m.Opened)
	case m.Variant != nil && s.opened:
		return s.variant(*m.Variant)
	case m.Done != nil && s.opened:
		return s.done(*m.Done)
	default:
		return fmt.Errorf("unexpected message")
	}
}

func (s *replyState) open(source ladder.Source) error {
	if s.opened || !slices.Contains(imagefile.Formats, source.Format) {
		return fmt.Errorf("unexpected source: %.10q of %d × %d", source.Format, source.Width, source.Height)
	}
	if err := checkSource(source, s.limits); err != nil {
		return err
	}
	s.opened, s.frames = true, source.Frames
	s.planned = s.recipe.Plan(source.Width, source.Height).Variants
	return nil
}

func (s *replyState) variant(v ladder.Variant) error {
	planned := s.remove(func(p ladder.Variant) bool {
		return p.Format == v.Format && p.Width == v.Width && p.Height == v.Height
	})
	if !planned || v.Bytes < 1 || v.Bytes > maxVariant(v, s.frames) {
		return fmt.Errorf("unplanned variant %.40q of %d bytes", v.Name(), v.Bytes)
	}
	return nil
}

func (s *replyState) done(d ladder.Summary) error {
	for _, o := range d.Omitted {
		planned := s.remove(func(p ladder.Variant) bool { return p.Format == o.Format && p.Width == o.Width })
		if !planned || o.Reason != ladder.NotSmaller {
			return fmt.Errorf("unplanned omission of %.10q at %d pixels", o.Format, o.Width)
		}
	}
	if n := len(d.ThumbHash); n < 1 || n > maxThumbHash {
		return fmt.Errorf("ThumbHash of %d bytes", n)
	}
	for stage, took := range d.Timings {
		if !slices.Contains(timed, stage) || took < 0 || took > maxTook {
			return fmt.Errorf("invalid time %v for stage %.20q", took, stage)
		}
	}
	if len(s.planned) > 0 {
		return fmt.Errorf("neither variant nor omission of %s", s.planned[0].Name())
	}
	return nil
}

// remove removes the first planned variant that matches, and reports whether there
// was one.
func (s *replyState) remove(match func(ladder.Variant) bool) bool {
	i := slices.IndexFunc(s.planned, match)
	if i < 0 {
		return false
	}
	s.planned = slices.Delete(s.planned, i, i+1)
	return true
}

// timed are the stages a child may time. ownFaults are the codes it may report;
// any other would let it stall the daemon or blame a client. headerFaults are those
// of them that follow from a header alone: no decoder has run.
var (
	timed = []ladder.Stage{
		ladder.StageDecode, ladder.StageOrient, ladder.StageResize, ladder.StageEncodeWebP, ladder.StageEncodeJPEG, ladder.StageEncodeAVIF,
	}
	ownFaults = []fault.Code{
		fault.UnsupportedFormat, fault.CorruptImage, fault.TooManyPixels, fault.TooManyFrames, fault.ProcessingFailed, fault.Internal,
	}
	headerFaults = []fault.Code{fault.UnsupportedFormat, fault.TooManyPixels, fault.TooManyFrames}
)

// maxThumbHash is the maximum length of a ThumbHash, in bytes.
const maxThumbHash = 25

// crash kills the child and returns why it failed.
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

// alive reports whether the child has not been reaped yet.
func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ended reports whether the child exited by itself. A broken socket is seen
// before the exit of the process that held it, on a busy machine long
// before.
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

// kill kills and reaps the child. It may be called more than once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have exited already
	<-p.exited
	_ = p.conn.Close()
}

// close closes the socket and waits for an idle child to exit.
func (p *process) close() {
	_ = p.conn.Close()
	select {
	case <-p.exited:
	case <-time.After(exitTimeout):
		p.kill()
	}
}

// stat returns the child's /proc/PID/stat.
func (p *process) stat() (procfs.ProcStat, error) {
	proc, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return proc.Stat()
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
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

// childEnv returns the complete environment of a child. It contains none of the
// daemon's secrets.
func childEnv(noVector bool) []string {
	env := []string{
		// glibc reads these only at process start. Memory of a rung, of its planes
		// and coefficients is kept for the next one, and for the next image:
		// docs/performance.md has what page faults cost. Blocks of whole large
		// images go back at once, and imaging returns the rest when it is idle.
		"MALLOC_ARENA_MAX=1", // malloc_trim releases only the end of the first one
		"MALLOC_MMAP_THRESHOLD_=25165824",
		"MALLOC_TRIM_THRESHOLD_=67108864",
		"MALLOC_TOP_PAD_=1048576",
		// Stacks of threads that have ended count toward the limit of memory, too.
		"GLIBC_TUNABLES=glibc.pthread.stack_cache_size=0",
		"VIPS_DISC_THRESHOLD=100g", // never spill a decode to disk: the limits bound it
		// No modules are found there. Those of PDF, microscopes, JPEG XL and
		// ImageMagick take a fifth of a start's CPU time and 2 MiB, and put code
		// within reach that nothing uses; imaging loads the one it needs.
		"VIPSHOME=/nonexistent",
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
