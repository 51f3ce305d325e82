package codec

import "time"

// CheckIdleEvery has pools look at their idle children this often.
func CheckIdleEvery(d time.Duration) { idleCheck = d }

// CheckIdle looks at the idle children once.
func (p *Pool) CheckIdle() { p.checkIdle() }

// IdleFor makes the pool's only child idle for longer.
func (p *Pool) IdleFor(d time.Duration) {
	child := <-p.slots
	child.idleAt = child.idleAt.Add(-d)
	p.slots <- child
}
