package codec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Config holds the settings of the pool.
type Config struct {
	Path      string        `mapstructure:"path"`      // of optimizerd-codec; "" looks where Find says
	Processes int           `mapstructure:"processes"` // children at once; 0 is half the cores
	Threads   int           `mapstructure:"threads"`   // encoders at once in a child; 0 is one a core
	Timeout   time.Duration `mapstructure:"timeout"`   // for one source, then the child is killed
	Version   string        `mapstructure:"-"`         // of this build, to hold the child's against
}

// DefaultConfig leaves the numbers to the machine.
func DefaultConfig() Config { return Config{Timeout: time.Minute} }

// Validate reports the first setting that is out of range, by its key.
func (c Config) Validate() error {
	switch {
	case c.Processes < 0 || c.Processes > 64:
		return fmt.Errorf("codec.processes: must be from 0 (automatic) to 64 (got %d)", c.Processes)
	case c.Threads < 0 || c.Threads > 64:
		return fmt.Errorf("codec.threads: must be from 0 (automatic) to 64 (got %d)", c.Threads)
	case c.Timeout < time.Second:
		return fmt.Errorf("codec.timeout: must be at least 1s (got %v)", c.Timeout)
	}
	return nil
}

// withDefaults fills in what the machine decides.
func (c Config) withDefaults() Config {
	if c.Processes == 0 {
		c.Processes = max(1, runtime.NumCPU()/2)
	}
	if c.Threads == 0 {
		c.Threads = runtime.NumCPU()
	}
	return c
}

// Pool is an Engine made of child processes. Its zero value is not usable.
type Pool struct {
	config  Config
	log     *zap.Logger
	slots   chan *process // as many as processes; nil for a child that is not running
	about   About
	started atomic.Int64
	crashed atomic.Int64
	broken  atomic.Pointer[error] // why the last child did not start; nil if it did
}

// NewPool starts the first child, so that a codec that is missing or of
// another build is known at once; the others start when there is work.
func NewPool(ctx context.Context, config Config, log *zap.Logger) (*Pool, error) {
	path, err := Find(config.Path)
	if err != nil {
		return nil, err
	}
	config = config.withDefaults()
	config.Path = path
	p := &Pool{config: config, log: log, slots: make(chan *process, config.Processes)}
	first, err := p.start(ctx)
	if err != nil {
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
	child, err := start(ctx, p.config, p.log)
	if err != nil {
		p.broken.Store(&err)
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
		return fault.Wrap(fault.Internal, *err, "The codec process does not start; the log of the daemon says why.")
	}
	return nil
}

// Size is how many sources can be rendered at once.
func (p *Pool) Size() int { return p.config.Processes }

// Stats counts children since the start of the pool.
type Stats struct{ Started, Crashed int64 }

// Stats returns the counts so far.
func (p *Pool) Stats() Stats { return Stats{p.started.Load(), p.crashed.Load()} }

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
	defer func() { p.slots <- child }()

	if child == nil || !child.alive() {
		var err error
		if child, err = p.start(ctx); err != nil {
			return ladder.Summary{}, err
		}
	}
	work, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	stop := context.AfterFunc(work, child.kill)
	summary, err := child.render(src, request{recipe, limits}, sink)
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
		err = &Crash{fmt.Sprintf("it ran longer than %v", p.config.Timeout)}
	}
	var crash *Crash
	if errors.As(err, &crash) {
		p.crashed.Add(1)
		p.log.Warn("codec crashed", zap.Int("pid", child.cmd.Process.Pid), zap.String("reason", crash.Reason))
	}
	return ladder.Summary{}, err
}

// Close ends the children, after the work that they have at hand.
func (p *Pool) Close() {
	for range cap(p.slots) {
		if child := <-p.slots; child != nil {
			child.close()
		}
	}
}
