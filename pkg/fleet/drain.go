package fleet

// count returns the number of local jobs for which is returns true. q.mu must be held.
func (q *Queue) count(is func(*entry) bool) (n int) {
	for _, e := range q.known {
		if e.here && is(e) {
			n++
		}
	}
	return n
}

// state returns the number of local jobs that have not ended, and whether the node
// is draining.
func (q *Queue) state() (leases int, draining bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count(func(e *entry) bool { return !e.job.Status.Ended() }), q.draining
}

// OnlyWhile lets this node take jobs from the fleet only while ready returns nil:
// another node may be able to execute them.
func (q *Queue) OnlyWhile(ready func() error) { q.ready.Store(&ready) }

// mayTake reports whether this node takes jobs from the fleet.
func (q *Queue) mayTake() bool {
	q.mu.Lock()
	draining := q.draining
	q.mu.Unlock()
	ready := q.ready.Load()
	return !draining && q.f.Reachable() == nil && (ready == nil || (*ready)() == nil)
}

// DrainPath is the route of the admin listener that calls Drain.
const DrainPath = "/fleet/drain"

// DrainState is its response.
type DrainState struct {
	Leases int `json:"leases"` // jobs that this node still has
}

// Drain stops this node from taking jobs, or lets it take jobs again, and returns
// the number of jobs that it still has. It is idempotent.
func (q *Queue) Drain(drain bool) (leases int) {
	q.mu.Lock()
	changed := q.draining != drain
	q.draining = drain
	q.mu.Unlock()
	if changed {
		if drain {
			q.log.Info("draining: this node takes no more jobs")
		} else {
			q.log.Info("draining ended: this node takes jobs again")
		}
		q.f.renew()
		q.f.remember()
		q.signalAll()
	}
	leases, _ = q.state()
	return leases
}
