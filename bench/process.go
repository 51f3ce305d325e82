package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// process is one that was started to be measured, from outside, together with
// its children.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	log    string // the file that has its standard error
}

// start starts a program whose standard error goes to a new file in a folder.
func start(ctx context.Context, folder string, env []string, name string, args ...string) (*process, error) {
	log, err := os.CreateTemp(folder, filepath.Base(name)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Env, cmd.Stderr = env, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd, stdin, bufio.NewReader(stdout), log.Name()}, nil
}

// line reads what the process says next.
func (p *process) line() (string, error) {
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		said, _ := os.ReadFile(p.log)
		return "", fmt.Errorf("%s: %w; it wrote: %s", p.cmd.Path, err, said)
	}
	return line, nil
}

// listening reads the line "listening URL" of a server, and returns the URL.
func (p *process) listening() (url string, err error) {
	line, err := p.line()
	return strings.TrimSpace(strings.TrimPrefix(line, "listening ")), err
}

// say sends a line of JSON, and reads the one that answers it.
func (p *process) say(question, answer any) error {
	if err := json.NewEncoder(p.stdin).Encode(question); err != nil {
		return err
	}
	return p.hear(answer)
}

func (p *process) hear(answer any) error {
	line, err := p.line()
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(line), answer)
}

// stop ends the process and waits for it. Not by SIGINT: programs inherit that it is
// ignored if this one runs in the background of a script.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(unix.SIGTERM) // it may have exited
	_ = p.cmd.Wait()                       // killed by the signal
}

// children are the processes that this one has started.
func (p *process) children() (pids []int, err error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if stat, err := one.Stat(); err == nil && stat.PPID == p.cmd.Process.Pid { // others come and go
			pids = append(pids, one.PID)
		}
	}
	return pids, nil
}

// cpu is the processor time of the process, of its children, and of those of
// them that have ended. The clocks count nanoseconds and every thread; only for
// the ended ones there is nothing better than the kernel's ticks.
func (p *process) cpu() (float64, error) {
	children, err := p.children()
	if err != nil {
		return 0, err
	}
	own, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	stat, err := own.Stat()
	if err != nil {
		return 0, err
	}
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	seconds := float64(stat.CUTime+stat.CSTime) / ticks
	for _, pid := range append(children, own.PID) {
		clock, err := processClock(pid)
		if err != nil {
			return 0, err
		}
		seconds += clock
	}
	return seconds, nil
}

// usage is CPU time until now, in seconds.
type usage struct {
	at      time.Time
	process float64 // with its children
	client  float64 // of this program
	machine float64 // of everything, and what other machines took from this one
}

func (p *process) usage() (u usage, err error) {
	u.at = time.Now()
	if u.process, err = p.cpu(); err != nil {
		return u, err
	}
	if u.client, err = processClock(os.Getpid()); err != nil {
		return u, err
	}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return u, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return u, err
	}
	t := stat.CPUTotal
	u.machine = t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ + t.Steal
	return u, nil
}

// used is CPU time of a while, in seconds.
type used struct {
	elapsed                  time.Duration
	process, client, machine float64
}

func (u usage) minus(before usage) used {
	return used{u.at.Sub(before.at), u.process - before.process, u.client - before.client, u.machine - before.machine}
}

// others is the share of all cores that had no part in what was measured.
func (u used) others() float64 {
	return max(0, u.machine-u.process-u.client) / u.elapsed.Seconds() / float64(runtime.NumCPU())
}

// cost is what a piece of work took.
type cost struct {
	cpu    float64 // seconds
	wall   float64 // seconds
	others float64 // the share of all cores that others had meanwhile
}

// settle is what a process gets after its answer to tidy up, which belongs to
// the work too.
const settle = 30 * time.Millisecond

// measure gives what f has the process do.
func (p *process) measure(f func() error) (c cost, err error) {
	before, err := p.usage()
	if err != nil {
		return c, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return c, err
	}
	c.wall = time.Since(began).Seconds()
	time.Sleep(settle)
	after, err := p.usage()
	if err != nil {
		return c, err
	}
	used := after.minus(before)
	c.cpu, c.others = used.process, used.others()
	return c, nil
}

// processClock reads the CPU clock of another process, whose number the kernel
// makes of the process id in this way (clock_getcpuclockid in C).
func processClock(pid int) (float64, error) {
	const ofAllThreads = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|ofAllThreads), &t); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return float64(t.Nano()) / 1e9, nil
}

// memory is resident memory in bytes, now or at its highest.
type memory struct{ now, peak int64 }

func memoryOf(pid int) (memory, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return memory{}, err
	}
	status, err := p.NewStatus()
	if err != nil {
		return memory{}, err
	}
	return memory{int64(status.VmRSS), int64(status.VmHWM)}, nil
}

// memory is that of the process, and that of its children together. The peaks
// need not have been at the same moment, so their sum is the most it can be.
func (p *process) memory() (own, theirs memory, err error) {
	children, err := p.children()
	if err != nil {
		return own, theirs, err
	}
	own, err = memoryOf(p.cmd.Process.Pid)
	for _, pid := range children {
		m, e := memoryOf(pid)
		err = errors.Join(err, e)
		theirs.now += m.now
		theirs.peak += m.peak
	}
	return own, theirs, err
}

// peak is the most memory that the process and its children may have held.
func (p *process) peak() (int64, error) {
	own, theirs, err := p.memory()
	return own.peak + theirs.peak, err
}
