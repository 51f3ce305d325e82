package codec

import (
	"context"
	"slices"
	"time"
)

// Child is what one child of a pool is doing.
type Child struct {
	PID        int
	Background bool      // it has low priority, for images that no client waits for
	Busy       bool      // a render is in progress
	Work       string    // its name, as passed to Named
	Since      time.Time // beginning of the render, or of the rest since the last one
	Images     int       // renders that have ended
	Resident   int64     // memory, in bytes; 0 if unknown
}

// activity is the part of Child that changes.
type activity struct {
	work   string
	busy   bool
	since  time.Time
	images int
}

type workKey struct{}

// Named returns a context that names the work done with it, for Children.
func Named(ctx context.Context, work string) context.Context {
	return context.WithValue(ctx, workKey{}, work)
}

// begin records the start of a render.
func (p *process) begin(ctx context.Context) {
	work, _ := ctx.Value(workKey{}).(string)
	p.doing.Store(&activity{work: work, busy: true, since: time.Now(), images: p.doing.Load().images})
}

// end records the end of a render.
func (p *process) end() {
	p.doing.Store(&activity{since: time.Now(), images: p.doing.Load().images + 1})
}

// Children returns what the running children are doing, oldest first.
func (p *Pool) Children() []Child {
	p.running.Lock()
	running := slices.Clone(p.children)
	p.running.Unlock()
	all := []Child{}
	for _, child := range running {
		if !child.alive() {
			continue
		}
		now := child.doing.Load()
		c := Child{
			PID: child.cmd.Process.Pid, Background: child.priority == low,
			Work: now.work, Busy: now.busy, Since: now.since, Images: now.images,
		}
		if stat, err := child.stat(); err == nil {
			c.Resident = int64(stat.ResidentMemory())
		}
		all = append(all, c)
	}
	return all
}

// add adds a started child to the running ones.
func (p *Pool) add(child *process) {
	p.running.Lock()
	defer p.running.Unlock()
	p.children = append(slices.DeleteFunc(p.children, func(c *process) bool { return !c.alive() }), child)
}
