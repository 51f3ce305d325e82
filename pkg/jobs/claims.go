package jobs

import "sync"

// claims deduplicates work (single flight). Equal work has the same key: the
// image for uploads and renders, input and options for requests. A key is locked
// from lookup until the job is durable, so that an equal request waits and then
// finds that job. Its ticket stays under the key until the job ends.
type claims struct {
	mu    sync.Mutex
	byKey map[string]*claim
}

type claim struct {
	sync.Mutex
	refs   int // holders of the lock, those waiting for it, and the ticket
	ticket Ticket
}

func newClaims() *claims { return &claims{byKey: make(map[string]*claim)} }

// The keys of an image, of rendering it, and of the end of a job, which also keeps a
// retry from beginning before what belongs to the end is done. The key of a request is
// job.Job.Key.
func imageKey(id string) string  { return "image " + id }
func renderKey(id string) string { return "render " + id }
func endKey(jobID string) string { return "end " + jobID }

// lock locks a key. The caller must call unlock.
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

// index stores a job under a key, unless the key has another unfinished job. An
// ended job is not stored: it may have been unindexed already.
func (c *claims) index(key string, t Ticket) {
	held := c.retain(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.Job().Status.Ended() {
		switch {
		case held.ticket == nil:
			held.ticket = t
			return // the ticket keeps the reference
		case held.ticket.Job().Status.Ended():
			held.ticket = t
		}
	}
	c.releaseLocked(key)
}

// unindex removes the job from a key, unless the key has another job.
func (c *claims) unindex(key, jobID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.byKey[key]; ok && held.ticket != nil && held.ticket.Job().ID == jobID {
		held.ticket = nil
		c.releaseLocked(key)
	}
}
