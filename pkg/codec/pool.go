package codec

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Config holds the settings of the pool.
type Config struct {
	Path      string        `mapstructure:"path"`      // of optimizerd-codec; "" looks where Find says
	Processes int           `mapstructure:"processes"` // children at once; 0 is half the cores, if memory allows
	Threads   int           `mapstructure:"threads"`   // encoders at once in a child; 0 is one a core
	Timeout   time.Duration `mapstructure:"timeout"`   // for one source, then the child is killed
	Memory    int64         `mapstructure:"memory"`    // bytes that a child may take for its work; 0 follows limits.max_memory
	MaxJobs   int           `mapstructure:"max_jobs"`  // then a child is replaced by a fresh one
	Version   string        `mapstructure:"-"`         // of this build, to hold the child's against
}

// DefaultConfig leaves the numbers to the machine.
func DefaultConfig() Config { return Config{Timeout: time.Minute, MaxJobs: 500} }

// minMemory is what a child needs for the smallest picture.
const minMemory = 64 << 20

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	var errs []error
	if c.Processes < 0 || c.Processes > 64 {
		errs = append(errs, fmt.Errorf("codec.processes: must be from 0 (automatic) to 64 (got %d)", c.Processes))
	}
	if c.Threads < 0 || c.Threads > 64 {
		errs = append(errs, fmt.Errorf("codec.threads: must be from 0 (automatic) to 64 (got %d)", c.Threads))
	}
	if c.Timeout < time.Second {
		errs = append(errs, fmt.Errorf("codec.timeout: must be at least 1s (got %v)", c.Timeout))
	}
	if c.Memory != 0 && c.Memory < minMemory {
		errs = append(errs, fmt.Errorf("codec.memory: must be 0 (automatic) or at least %d (got %d)", minMemory, c.Memory))
	}
	if c.MaxJobs < 1 {
		errs = append(errs, fmt.Errorf("codec.max_jobs: must be at least 1 (got %d)", c.MaxJobs))
	}
	return errors.Join(errs...)
}

// maxResident is how large an idle child may be. glibc gives back little of
// what a large picture took; a fresh process gives back all.
const maxResident = 256 << 20

// withDefaults fills in what the machine decides.
func (c Config) withDefaults() Config {
	cores := runtime.GOMAXPROCS(0) // it knows the cgroup's share
	if c.Processes == 0 {
		c.Processes = processesFor(cores, AvailableMemory(), c.Memory)
	}
	if c.Threads == 0 {
		c.Threads = cores
	}
	return c
}

// What an idle child takes, and what the daemon and the rest of a small system
// do; bytes.
const (
	IdleChild = 32 << 20
	reserved  = 192 << 20
)

// processesFor is a child for every two cores, since each uses them all for
// most of a picture, but no more than can be at their largest at once.
func processesFor(cores int, memory, child int64) int {
	return max(1, min(cores/2, Fit(memory, child)))
}

// Fit is how many children can be at their largest at once where so much memory
// is, each with so much for its work; bytes.
func Fit(memory, child int64) int { return int((memory - reserved) / (child + IdleChild)) }

// AvailableMemory is that of the machine, or of the cgroup where that has less;
// 0 if neither can be known.
func AvailableMemory() int64 {
	memory, err := memlimit.FromSystem()
	if limit, limitErr := memlimit.FromCgroup(); limitErr == nil && (err != nil || limit < memory) {
		memory, err = limit, nil
	}
	if err != nil {
		return 0 // unknown: be careful
	}
	return int64(min(memory, math.MaxInt64))
}

// Pool is an Engine made of child processes. Its zero value is not usable.
type Pool struct {
	config  Config
	log     *zap.Logger
	slots   chan *process // as many as processes; nil for a child that is not running
	about   About
	alone   sync.Mutex // held by who collects all slots
	spawner *spawner
	started atomic.Int64
	crashed atomic.Int64
	broken  atomic.Pointer[error] // why the last child did not start; nil if it did
}

// NewPool starts the first child, so that a codec that is missing or of
// another build is known at once, and what its self-test says; the others
// start when there is work.
func NewPool(ctx context.Context, config Config, log *zap.Logger) (*Pool, error) {
	path, err := Find(config.Path)
	if err != nil {
		return nil, err
	}
	config = config.withDefaults()
	config.Path = path
	p := &Pool{config: config, log: log, slots: make(chan *process, config.Processes), spawner: newSpawner(config, log)}
	first, err := p.start(ctx)
	if err != nil {
		p.spawner.close()
		return nil, err
	}
	p.about = first.about
	p.slots <- first
	for range config.Processes - 1 {
		p.slots <- nil
	}
	return p, nil
}

// start runs one more child; a child that cannot start is nil.
func (p *Pool) start(ctx context.Context) (*process, error) {
	child, err := p.spawner.start(ctx)
	if err != nil && ctx.Err() == nil {
		err = &Unavailable{err}
		p.broken.Store(&err)
	}
	if err != nil {
		return nil, err
	}
	p.broken.Store(nil)
	p.started.Add(1)
	p.log.Debug("codec started", zap.Int("pid", child.cmd.Process.Pid))
	return child, nil
}

// About is how the children introduced themselves.
func (p *Pool) About() About { return p.about }

// Check reports why children do not start, or nil.
func (p *Pool) Check() error {
	if err := p.broken.Load(); err != nil {
		return fault.Wrap(fault.Internal, *err, "The codec process does not start. See the server log.")
	}
	return nil
}

// Size is how many sources can be rendered at once.
func (p *Pool) Size() int { return p.config.Processes }

// Stats counts children since the start of the pool.
type Stats struct{ Started, Crashed int64 }

// Stats returns the counts so far.
func (p *Pool) Stats() Stats { return Stats{p.started.Load(), p.crashed.Load()} }

// Usage is what children have taken from the system, their start and their
// self-test included.
type Usage struct {
	CPU  time.Duration // of all of them together
	Peak int64         // resident memory of the one that took most, bytes
}

// Usage sums up the children that have ended: after Close, all.
func (p *Pool) Usage() Usage {
	p.spawner.counts.Lock()
	defer p.spawner.counts.Unlock()
	return p.spawner.usage
}

// Render implements Engine. It waits for a free child, and kills that child
// when ctx ends or the configured time has passed. An error is a fault of the
// child's telling, a *Crash, the sink's own error, or ctx's.
func (p *Pool) Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	var child *process
	select {
	case child = <-p.slots:
	case <-ctx.Done():
		return ladder.Summary{}, ctx.Err()
	}
	defer func() { p.slots <- p.reusable(child) }()
	if child != nil && !child.alive() {
		child.kill() // it died idle; what is left of it goes
		child = nil
	}
	if child == nil {
		var err error
		if child, err = p.start(ctx); err != nil {
			return ladder.Summary{}, err
		}
	}
	return p.render(ctx, child, src, request{recipe, limits}, sink)
}

// Alone is the pool as an engine that gives each source a fresh child, which
// works while no other does: the last try for a source that was at hand when a
// child died, and may have had to do with it or not.
func (p *Pool) Alone() Engine { return alone{p} }

type alone struct{ p *Pool }

func (a alone) Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	p := a.p
	p.alone.Lock()
	defer p.alone.Unlock()
	for range cap(p.slots) {
		select {
		case child := <-p.slots:
			defer func() { p.slots <- child }()
		case <-ctx.Done():
			return ladder.Summary{}, ctx.Err()
		}
	}
	child, err := p.start(ctx)
	if err != nil {
		return ladder.Summary{}, err
	}
	defer child.close()
	return p.render(ctx, child, src, request{recipe, limits}, sink)
}

func (p *Pool) render(ctx context.Context, child *process, src *os.File, m request, sink ladder.Sink) (ladder.Summary, error) {
	work, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	child.limitCPU(p.config.Timeout * time.Duration(p.config.Threads))
	stop := context.AfterFunc(work, child.kill)
	summary, err := child.render(src, m, sink)
	if !stop() {
		<-child.exited
	}
	if err == nil || child.alive() {
		return summary, err
	}
	switch {
	case ctx.Err() != nil:
		return ladder.Summary{}, ctx.Err()
	case work.Err() != nil:
		err = &Crash{fmt.Sprintf("exceeded codec.timeout (%v)", p.config.Timeout)}
	}
	var crash *Crash
	if errors.As(err, &crash) {
		p.crashed.Add(1)
		p.log.Warn("codec crashed", zap.Int("pid", child.cmd.Process.Pid), zap.String("reason", crash.Reason))
	}
	return ladder.Summary{}, err
}

// reusable is the child, or nil for one that is dead, worn out or has
// grown.
func (p *Pool) reusable(child *process) *process {
	if child == nil || !child.alive() {
		return nil
	}
	stat, err := child.stat()
	if child.jobs < p.config.MaxJobs && err == nil && stat.ResidentMemory() <= maxResident {
		return child
	}
	p.log.Debug("codec replaced", zap.Int("pid", child.cmd.Process.Pid), zap.Int("jobs", child.jobs), zap.Int("resident", stat.ResidentMemory()))
	child.close()
	return nil
}

// Close ends the children, after the work that they have at hand.
func (p *Pool) Close() {
	for range cap(p.slots) {
		if child := <-p.slots; child != nil {
			child.close()
		}
	}
	p.spawner.close()
}

// workarounds are what a child is started with beside the configuration, because an
// earlier one died without it.
type workarounds struct {
	noVector bool
	off      []string // parts of the self-test, and so formats, that are left out
}

// spawner starts children, all on one thread of its own: the kernel kills a
// child when the thread that started it ends, which must be at the end of the
// daemon and not whenever Go lets a thread go.
type spawner struct {
	config Config
	log    *zap.Logger
	spawn  chan func()

	mu          sync.Mutex
	workarounds workarounds
	suspect     string // the part of the self-test for which vector code was switched off
	settled     bool   // a child has greeted, so these are the workarounds that this machine needs

	counts sync.Mutex
	usage  Usage // of the children that have ended
}

func newSpawner(config Config, log *zap.Logger) *spawner {
	s := &spawner{config: config, log: log, spawn: make(chan func())}
	go func() {
		runtime.LockOSThread() // and never unlocked: it ends with the goroutine
		lowerPriority()
		for f := range s.spawn {
			f()
		}
	}()
	return s
}

func (s *spawner) close() { close(s.spawn) }

// maxStarts is how many children may die before they greet with nothing to be
// learnt from it: a kernel short of memory kills as it likes.
const maxStarts = 5

// start runs a child to its greeting. One that dies in its self-test is started
// again without vector code, a known fault of libvips on some boards; when that
// does not help, with vector code but without the part that it died of.
func (s *spawner) start(ctx context.Context) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for starts := 1; ; {
		child, err := s.spawnOne()
		if err != nil {
			return nil, err
		}
		err = child.greet(ctx, s.config.Version)
		if err == nil {
			s.settled = true
			return child, nil
		}
		var crash *selfTestCrash
		if ctx.Err() != nil || !errors.As(err, &crash) {
			return nil, err
		}
		if s.adapt(crash) {
			continue
		}
		if starts++; starts > maxStarts {
			return nil, err
		}
		s.log.Warn("codec died before its greeting, starting another", zap.Error(crash))
	}
}

// learn changes the workarounds after a crash; false is that there is nothing to
// change. What an earlier child could do stays on: the others were told of it.
func (s *spawner) adapt(crash *selfTestCrash) bool {
	switch {
	case s.settled || crash.part == "" || slices.Contains(s.workarounds.off, crash.part):
		return false
	case s.suspect != crash.part:
		s.log.Warn("codec died in its self-test, retrying without vector code", zap.Error(crash))
		s.workarounds.noVector, s.suspect = true, crash.part
	default:
		s.log.Error("codec died in its self-test, disabling the feature", zap.String("off", crash.part), zap.Error(crash))
		s.workarounds.noVector, s.suspect = false, ""
		s.workarounds.off = append(s.workarounds.off, crash.part)
	}
	return true
}

func (s *spawner) spawnOne() (child *process, err error) {
	done := make(chan struct{})
	s.spawn <- func() {
		child, err = spawn(s.config, s.workarounds, s.log, s.count)
		close(done)
	}
	<-done
	return child, err
}

// count adds up what an ended child took.
func (s *spawner) count(ended *os.ProcessState) {
	s.counts.Lock()
	defer s.counts.Unlock()
	s.usage.CPU += ended.UserTime() + ended.SystemTime()
	if r, ok := ended.SysUsage().(*syscall.Rusage); ok {
		s.usage.Peak = max(s.usage.Peak, r.Maxrss<<10)
	}
}
