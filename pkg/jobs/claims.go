package jobs

import "sync"

// claims joins equal work. What is equal has the same key: an upload by the
// image that it makes, a request by its input and options, and rendering by the
// image again. A key is locked from the look-up until the job is durable, so that
// an equal request meanwhile finds that job; the ticket stays under the key until
// the job ends.
type claims struct {
	mu    sync.Mutex
	byKey map[string]*claim
}

type claim struct {
	sync.Mutex
	refs   int // lockers, waiting ones included, and the ticket
	ticket Ticket
}

func newClaims() *claims { return &claims{byKey: make(map[string]*claim)} }

// The keys of an image and of rendering it. A request has job.Job's own.
func imageKey(id string) string  { return "image " + id }
func renderKey(id string) string { return "render " + id }

// lock waits until nobody else has the key locked. The caller ends with unlock.
func (c *claims) lock(key string) (unlock func()) {
	held := c.retain(key)
	held.Lock()
	return func() {
		held.Unlock()
		c.release(key)
	}
}

func (c *claims) retain(key string) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, ok := c.byKey[key]
	if !ok {
		held = new(claim)
		c.byKey[key] = held
	}
	held.refs++
	return held
}

func (c *claims) release(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releaseLocked(key)
}

func (c *claims) releaseLocked(key string) {
	if held := c.byKey[key]; held.refs > 1 {
		held.refs--
	} else {
		delete(c.byKey, key)
	}
}

// ticket returns the job under a key, or nil.
func (c *claims) ticket(key string) Ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.byKey[key]; ok {
		return held.ticket
	}
	return nil
}

// index puts a job under a key, unless another one that has not ended is there.
// One that has ended itself is not put: it may have been unindexed already.
func (c *claims) index(key string, t Ticket) {
	held := c.retain(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.Job().Status.Ended() {
		switch {
		case held.ticket == nil:
			held.ticket = t
			return // it keeps the reference
		case held.ticket.Job().Status.Ended():
			held.ticket = t
		}
	}
	c.releaseLocked(key)
}

// unindex takes the job from a key, if it is the one there.
func (c *claims) unindex(key, jobID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.byKey[key]; ok && held.ticket != nil && held.ticket.Job().ID == jobID {
		held.ticket = nil
		c.releaseLocked(key)
	}
}
