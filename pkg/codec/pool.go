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
	Path      string        `mapstructure:"path"`      // path of optimizerd-codec; "" searches as Find does
	Processes int           `mapstructure:"processes"` // number of children; 0 is half the cores, if memory allows
	Threads   int           `mapstructure:"threads"`   // parallel encoders per child; 0 is one per core
	Timeout   time.Duration `mapstructure:"timeout"`   // per source; the child is killed after it, one of low priority after ten times as long
	Memory    int64         `mapstructure:"memory"`    // bytes a child may use for its work; 0 follows limits.max_memory
	MaxJobs   int           `mapstructure:"max_jobs"`  // sources per child before it is replaced
	Version   string        `mapstructure:"-"`         // version of this build, to compare with the child's

	// Dedicated adds a child for images that no client waits for. Otherwise
	// they share the children.
	Dedicated bool `mapstructure:"-"`
}

// DefaultConfig sizes the pool by the machine.
func DefaultConfig() Config { return Config{Timeout: time.Minute, MaxJobs: 500} }

// minMemory is what a child needs for the smallest image.
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

// maxResident is the largest RSS of an idle child, in bytes. glibc returns
// little of the memory of a large image; a fresh process returns all of it.
const maxResident = 256 << 20

// Sized replaces zero values by values for this machine.
func (c Config) Sized() Config {
	return c.sizedFor(runtime.GOMAXPROCS(0), AvailableMemory()) // the first respects the cgroup's CPU quota
}

// sizedFor chooses one child per two cores, since each child uses all cores for most
// of a render, limited to the number that fits into memory at peak.
func (c Config) sizedFor(cores int, memory int64) Config {
	if c.Processes == 0 {
		fit := Fit(memory, c.Memory)
		c.Processes = max(1, min(cores/2, fit))
		c.Dedicated = c.Processes == 1 && fit >= 2
	}
	if c.Threads == 0 {
		c.Threads = cores
	}
	return c
}

// Memory of an idle child, and memory reserved for the daemon and the rest of a
// small system; bytes.
const (
	IdleChild = 32 << 20
	reserved  = 192 << 20
)

// Fit returns how many children fit into memory at their peak, each with child
// bytes for its work.
func Fit(memory, child int64) int { return int((memory - reserved) / (child + IdleChild)) }

// AvailableMemory returns the memory of the machine or the limit of its cgroup,
// whichever is less, in bytes; 0 if unknown.
func AvailableMemory() int64 {
	memory, err := memlimit.FromSystem()
	if limit, limitErr := memlimit.FromCgroup(); limitErr == nil && (err != nil || limit < memory) {
		memory, err = limit, nil
	}
	if err != nil {
		return 0 // unknown: callers fall back to the minimum
	}
	return int64(min(memory, math.MaxInt64))
}

// Pool is an Engine backed by child processes. Use NewPool to create one. It is
// safe for concurrent use.
type Pool struct {
	config   Config
	log      *zap.Logger
	ready    [numPriorities]chan *process // idle children
	empty    [numPriorities]chan struct{} // one for each child that is not running; one channel for both priorities unless config.Dedicated
	about    About
	alone    sync.Mutex // held while collecting all slots
	spawner  *spawner
	running  sync.Mutex // held while children is read or written
	children []*process // that run; some may have ended
	started  atomic.Int64
	crashed  atomic.Int64
	broken   atomic.Pointer[error] // error of the last failed start; nil after a successful one

	stopWatching context.CancelFunc // ends watchIdle
	watcher      sync.WaitGroup     // watchIdle
}

// NewPool starts the first child, so that a missing codec, a mismatched build
// or a failed self-test is detected at once. The other children start on
// demand.
func NewPool(ctx context.Context, config Config, log *zap.Logger) (*Pool, error) {
	path, err := Find(config.Path)
	if err != nil {
		return nil, err
	}
	config = config.Sized()
	config.Path = path
	keepFromChildren()
	p := &Pool{config: config, log: log, spawner: newSpawner(config, log)}
	for at := range numPriorities {
		p.ready[at] = make(chan *process, config.Processes)
		p.empty[at] = make(chan struct{}, config.Processes)
	}
	if !config.Dedicated {
		p.empty[low] = p.empty[normal]
	}
	first, err := p.start(ctx, normal)
	if err != nil {
		p.spawner.close()
		return nil, err
	}
	p.about = first.about
	p.put(normal, p.reusable(first))
	for _, at := range p.places()[:p.Most()-1] {
		p.put(at, nil)
	}
	var lifetime context.Context
	lifetime, p.stopWatching = context.WithCancel(context.WithoutCancel(ctx))
	p.watcher.Go(func() { p.watchIdle(lifetime) })
	return p, nil
}

// start starts one child.
func (p *Pool) start(ctx context.Context, at priority) (*process, error) {
	child, err := p.spawner.start(ctx, at)
	if err != nil && ctx.Err() == nil {
		err = &Unavailable{err}
		p.broken.Store(&err)
	}
	if err != nil {
		return nil, err
	}
	p.broken.Store(nil)
	p.started.Add(1)
	p.add(child)
	p.log.Debug("codec started", zap.Int("pid", child.cmd.Process.Pid))
	return child, nil
}

// About returns the greeting of the first child.
func (p *Pool) About() About { return p.about }

// Check returns a fault if the last start of a child failed.
func (p *Pool) Check() error {
	if err := p.broken.Load(); err != nil {
		return fault.Wrap(fault.Internal, *err, "The codec process failed to start. See the server log.")
	}
	return nil
}

// Size returns how many sources can be rendered concurrently, not counting those with
// a dedicated child.
func (p *Pool) Size() int { return p.config.Processes }

// Most returns the maximum number of children.
func (p *Pool) Most() int { return len(p.places()) }

// places returns the priority of each child that may run, the last one normal. If
// the priorities share the children, all places have normal priority.
func (p *Pool) places() []priority {
	places := make([]priority, p.config.Processes)
	if p.config.Dedicated {
		places = slices.Insert(places, 0, low)
	}
	return places
}

// Stats counts children since the pool was created.
type Stats struct{ Started, Crashed int64 }

// Stats returns the current counts.
func (p *Pool) Stats() Stats { return Stats{p.started.Load(), p.crashed.Load()} }

// Usage is the resource usage of children, including startup and self-test.
type Usage struct {
	CPU  time.Duration // total CPU time
	Peak int64         // largest RSS of any child, bytes
}

// Usage returns the usage of the children that have exited; after Close, of
// all.
func (p *Pool) Usage() Usage {
	p.spawner.counts.Lock()
	defer p.spawner.counts.Unlock()
	return p.spawner.usage
}

// Render implements Engine. It blocks until a child is free, and kills the
// child when ctx ends or the configured timeout has passed. The error is a
// fault reported by the child, a *Crash, an *Unavailable, the sink's own error,
// or ctx's.
func (p *Pool) Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	return p.renderAt(ctx, normal, src, request{Recipe: recipe, Limits: limits}, sink)
}

func (p *Pool) renderAt(ctx context.Context, at priority, src *os.File, m request, sink ladder.Sink) (ladder.Summary, error) {
	child, err := p.take(ctx, at)
	if err != nil {
		return ladder.Summary{}, err
	}
	defer func() { p.put(at, p.reusable(child)) }()
	if child != nil && !child.alive() {
		child.kill() // it died while idle; this reaps it
		child = nil
	}
	if child != nil {
		summary, err := p.render(ctx, child, src, m, sink)
		if !errors.Is(err, errNoRoom) {
			return summary, err
		}
		p.log.Debug("codec replaced for a large image", zap.Int("pid", child.cmd.Process.Pid), zap.Int("jobs", child.jobs))
		child.close()
	}
	if child, err = p.start(ctx, at); err != nil {
		return ladder.Summary{}, err
	}
	return p.render(ctx, child, src, m, sink)
}

// take returns an idle child of a priority, or nil if one may be started, and blocks
// while all are busy. Running children are preferred: starting another costs time,
// and memory that a load of one image at a time does not need. One of the other
// priority is closed if nothing else is left, unless that has dedicated children.
func (p *Pool) take(ctx context.Context, at priority) (*process, error) {
	select {
	case child := <-p.ready[at]:
		return child, nil
	default:
	}
	select {
	case child := <-p.ready[at]:
		return child, nil
	case <-p.empty[at]:
		return nil, nil
	default:
	}
	others := p.ready[at.other()]
	if p.config.Dedicated {
		others = nil
	}
	select {
	case child := <-p.ready[at]:
		return child, nil
	case <-p.empty[at]:
		return nil, nil
	case child := <-others:
		child.close()
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// put returns what take returned for a priority, or nil in place of a child that has
// exited.
func (p *Pool) put(at priority, child *process) {
	if child == nil {
		p.empty[at] <- struct{}{}
		return
	}
	p.ready[child.priority] <- child
}

// Alone returns the pool as an engine that renders each source in a fresh child
// while no other child works: the retry in isolation for a source that was in
// progress when a child crashed.
func (p *Pool) Alone() Engine { return alone{p} }

type alone struct{ p *Pool }

func (a alone) Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	p := a.p
	p.alone.Lock()
	defer p.alone.Unlock()
	for _, at := range p.places() { // while it waits for the dedicated child, the others work
		child, err := p.take(ctx, at)
		if err != nil {
			return ladder.Summary{}, err
		}
		defer p.put(at, child)
	}
	child, err := p.start(ctx, normal)
	if err != nil {
		return ladder.Summary{}, err
	}
	defer child.close()
	return p.render(ctx, child, src, request{Recipe: recipe, Limits: limits}, sink)
}

func (p *Pool) render(ctx context.Context, child *process, src *os.File, m request, sink ladder.Sink) (ladder.Summary, error) {
	timeout := p.config.Timeout * time.Duration(child.priority.patience())
	work, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m.CPU = p.config.Timeout * time.Duration(p.config.Threads)
	stop := context.AfterFunc(work, child.kill)
	child.begin(ctx)
	summary, err := child.render(src, m, sink)
	child.end()
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
		err = &Crash{fmt.Sprintf("exceeded codec.timeout (%v)", timeout)}
	}
	var crash *Crash
	if errors.As(err, &crash) {
		p.crashed.Add(1)
		p.log.Warn("codec crashed", zap.Int("pid", child.cmd.Process.Pid), zap.String("reason", crash.Reason))
	}
	return ladder.Summary{}, err
}

// reusable returns child, or nil after closing it if it is dead, a decoder failed
// in it, it has reached MaxJobs or has grown too large.
func (p *Pool) reusable(child *process) *process {
	if child == nil || !child.alive() {
		return nil
	}
	stat, err := child.stat()
	if !child.suspect && child.jobs < p.config.MaxJobs && err == nil && stat.ResidentMemory() <= maxResident {
		child.idleAt, child.idleSince = time.Now(), stat.CPUTime()
		return child
	}
	p.log.Debug("codec replaced", zap.Int("pid", child.cmd.Process.Pid), zap.Int("jobs", child.jobs), zap.Int("resident", stat.ResidentMemory()))
	child.close()
	return nil
}

// Close ends the children once they are idle. It blocks until all have exited.
func (p *Pool) Close() {
	p.stopWatching()
	p.watcher.Wait()
	for _, at := range p.places() {
		if child, _ := p.take(context.Background(), at); child != nil { // no error without an end of the context
			child.close()
		}
	}
	p.spawner.close()
}

// workarounds are start options that earlier crashes made necessary.
type workarounds struct {
	noVector bool
	off      []string // parts of the self-test to skip, which disables their formats
}

// spawner starts all children of a priority on one locked OS thread: with Pdeathsig
// the kernel kills a child when the thread that started it exits, which must not
// happen before the daemon exits.
type spawner struct {
	config  Config
	log     *zap.Logger
	threads [numPriorities]chan func()

	mu          sync.Mutex
	workarounds workarounds
	suspect     string // part of the self-test for which vector code was disabled
	settled     bool   // a child has greeted: the workarounds are final

	counts sync.Mutex
	usage  Usage // of the children that have exited
}

func newSpawner(config Config, log *zap.Logger) *spawner {
	s := &spawner{config: config, log: log}
	for at := range numPriorities {
		s.threads[at] = make(chan func())
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			lowerPriority(at.nice())
			for f := range s.threads[at] {
				f()
			}
		}()
	}
	return s
}

func (s *spawner) close() {
	for _, thread := range s.threads {
		close(thread)
	}
}

// maxStarts is how many children may die before their greeting without a new
// workaround, for example because the kernel is out of memory.
const maxStarts = 5

// start starts a child and waits for its greeting. If the child dies in its
// self-test, start disables vector code, which is a known fault of libvips on
// some boards. If that does not help, it enables vector code again and skips
// the part of the self-test that failed.
func (s *spawner) start(ctx context.Context, at priority) (*process, error) {
	s.mu.Lock()
	unlock := sync.OnceFunc(s.mu.Unlock)
	defer unlock()
	if s.settled { // nothing changes any more: no start waits for one of low priority
		unlock()
	}
	for starts := 1; ; {
		child, err := s.spawnOne(at)
		if err != nil {
			return nil, err
		}
		err = child.greet(ctx, s.config.Version)
		if err == nil {
			if !s.settled { // otherwise the lock may not be held
				s.settled = true
			}
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

// adapt changes the workarounds after a crash and reports whether it did. Once
// a child has greeted they are final, since its capabilities have been
// published.
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

func (s *spawner) spawnOne(at priority) (child *process, err error) {
	done := make(chan struct{})
	s.threads[at] <- func() {
		child, err = spawn(s.config, s.workarounds, s.log, s.count)
		close(done)
	}
	<-done
	if err == nil {
		child.priority = at
	}
	return child, err
}

// count adds the resource usage of an exited child.
func (s *spawner) count(ended *os.ProcessState) {
	s.counts.Lock()
	defer s.counts.Unlock()
	s.usage.CPU += ended.UserTime() + ended.SystemTime()
	if r, ok := ended.SysUsage().(*syscall.Rusage); ok {
		s.usage.Peak = max(s.usage.Peak, r.Maxrss<<10)
	}
}
