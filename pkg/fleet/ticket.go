package fleet

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// ticket implements jobs.Ticket.
type ticket struct {
	q *Queue
	e *entry
}

// Ticket implements jobs.Queue.
func (q *Queue) Ticket(id string) (jobs.Ticket, bool) {
	q.mu.Lock()
	e, ok := q.known[id]
	q.mu.Unlock()
	if ok {
		return &ticket{q, e}, true
	}
	if !job.ValidID(id) {
		return nil, false
	}
	r, _, err := q.read(id)
	if err != nil || r == nil || r.Level > level || r.job.Status.Ended() {
		return nil, false // Get says why
	}
	return &ticket{q, q.watch(r.job)}, true
}

// watch returns the entry of a job that has a record, and makes one if this node
// does not know the job.
func (q *Queue) watch(j job.Job) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.watchLocked(j)
}

func (q *Queue) watchLocked(j job.Job) *entry {
	e, ok := q.known[j.ID]
	if !ok {
		e = &entry{job: j, recorded: true, ended: make(chan struct{})}
		q.known[j.ID] = e
	}
	return e
}

// waitedFor returns a job that another node executes, if this one waits for its end.
func (q *Queue) waitedFor(id string) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.known[id]; ok && !e.here {
		return e
	}
	return nil
}

// refresh checks whether a job that another node executes has ended.
func (q *Queue) refresh(e *entry) {
	id := (&ticket{q, e}).Job().ID
	r, _, err := q.read(id)
	if err != nil || r != nil && (r.Level > level || !r.job.Status.Ended()) {
		return // checked again soon
	}
	q.mu.Lock()
	if e.here || e.job.Status.Ended() || q.known[id] != e {
		q.mu.Unlock()
		return
	}
	if r != nil {
		e.job = r.job
	}
	delete(q.known, id)
	j := e.job
	close(e.ended)
	q.mu.Unlock()
	if ended := q.onEnd.Load(); ended != nil {
		(*ended)(j)
	}
}

// refreshAll polls all jobs that other nodes execute, in case a message was
// lost.
func (q *Queue) refreshAll() {
	ticker := time.NewTicker(refreshTime)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-q.f.ctx.Done():
			return
		}
		var others []*entry
		q.mu.Lock()
		for _, e := range q.known {
			if !e.here {
				others = append(others, e)
			}
		}
		q.mu.Unlock()
		for _, e := range others {
			if q.f.ctx.Err() != nil || q.f.Connected() != nil {
				break // checked again soon; a shutdown does not wait for this
			}
			q.refresh(e)
		}
	}
}

// Job implements jobs.Ticket. For a job that another node executes it is the
// last known state.
func (t *ticket) Job() job.Job {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.e.job
}

// Wait implements jobs.Ticket.
func (t *ticket) Wait(ctx context.Context) job.Job {
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	for {
		select {
		case <-t.e.ended:
			return t.Job()
		case <-ctx.Done():
			return t.Job()
		case <-ticker.C:
			if t.q.waitedFor(t.Job().ID) != nil {
				t.q.refresh(t.e)
			}
		}
	}
}

// Recorded implements jobs.Ticket.
func (t *ticket) Recorded() bool {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.e.recorded
}

// Record implements jobs.Ticket. The message is delivered while this node executes
// the job: the node that receives it leaves the job to this process as long as
// this process is alive.
func (t *ticket) Record() error {
	q, e := t.q, t.e
	e.record.Lock()
	defer e.record.Unlock()
	j := t.Job()
	if t.Recorded() || j.Status.Ended() {
		return nil
	}
	if j.Status == job.Processing {
		if err := j.Return(); err != nil {
			return err
		}
	}
	r := record{Level: level, Node: q.f.node, Holder: q.f.instance, job: j}
	if v, err := q.f.state.get(claimKey(j)); err == nil && v.data == nil { // equal jobs may have been held elsewhere; they have one effect
		r.Claim, err = q.f.state.put(claimKey(j), []byte(j.ID), v.revision, claimTime)
		q.logError("cannot claim work; an equal job repeats it", j.ID, err)
	}
	if _, err := q.create(&r); err != nil {
		return err
	}
	q.mu.Lock()
	e.recorded = true
	q.mu.Unlock()
	q.logError("cannot publish a recorded job; housekeeping will", j.ID, q.post(j))
	q.log.Debug("job accepted", zap.String("job_id", j.ID))
	q.announceWork(lane(j))
	return nil
}

// Announce implements jobs.Ticket: the end of every recorded job is kept.
func (t *ticket) Announce() job.Job { return t.Job() }

// AddWebhook implements jobs.Ticket.
func (t *ticket) AddWebhook(w job.Webhook) (ok bool, err error) {
	t.e.record.Lock()
	defer t.e.record.Unlock()
	var refused error
	r, err := t.q.update(t.Job().ID, func(r *record) (added bool) {
		if !r.job.Status.Ended() {
			added, refused = r.job.AddWebhook(w)
		}
		return added
	})
	switch {
	case err != nil:
		return true, err
	case r == nil || r.job.Status.Ended():
		return false, nil
	default:
		return true, refused
	}
}

// Raise implements jobs.Ticket: the job stays where its message is.
func (t *ticket) Raise() error { return nil }
