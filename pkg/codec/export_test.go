package codec

import (
	"context"
	"time"
)

// CheckIdleEvery has pools look at their idle children this often.
func CheckIdleEvery(d time.Duration) { idleCheck = d }

// HangAfter has pools give up children that are silent for this long before their
// greeting, and use no CPU, and returns the time that it was.
func HangAfter(d time.Duration) (before time.Duration) {
	before, helloTimeout = helloTimeout, d
	return before
}

// CheckIdle looks at the idle children once.
func (p *Pool) CheckIdle() { p.checkIdle(context.Background()) }

// IdleFor makes the pool's only child idle for longer.
func (p *Pool) IdleFor(d time.Duration) { p.idleFor(normal, d) }

// BackgroundIdleFor makes the only child of low priority idle for longer.
func (p *Pool) BackgroundIdleFor(d time.Duration) { p.idleFor(low, d) }

func (p *Pool) idleFor(at priority, d time.Duration) {
	child := <-p.ready[at]
	child.idleAt = child.idleAt.Add(-d)
	p.put(at, child)
}
