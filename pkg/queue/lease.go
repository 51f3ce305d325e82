package queue

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// lease is a worker's hold on one job. It implements jobs.Lease.
type lease struct {
	q     *Queue
	e     *entry
	phase jobs.Phase
	lane  jobs.Lane // at the start of the lease

	// Set at the end:
	ended  job.Job
	folder records // where it is recorded if it is announced
}

// Lease waits for the next job of a phase and starts it. It returns
// jobs.ErrQueueClosed when the queue is closed, the error of ctx, or an I/O error.
func (q *Queue) Lease(ctx context.Context, phase jobs.Phase) (jobs.Lease, error) {
	for ctx.Err() == nil { // jobs returned during shutdown wait for the next start
		l, err := q.tryLease(phase)
		if err != nil {
			return nil, err
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-q.wake[phase]:
		case <-ctx.Done():
		}
	}
	q.signal(phase) // pass on a signal that may have been for another worker
	return nil, ctx.Err()
}

// tryLease returns nil, nil if no job is ready.
func (q *Queue) tryLease(phase jobs.Phase) (*lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.signal(phase) // for the next worker
		return nil, jobs.ErrQueueClosed
	}
	e := q.pop(phase)
	if e == nil {
		return nil, nil
	}
	if err := q.start(e); err != nil {
		q.pushFront(e)
		return nil, err
	}
	e.job.AddTimings(ladder.Timings{ladder.StageQueue: time.Since(e.waitingSince)})
	l := q.hold(e, phase)
	q.signal(phase) // there may be another job
	q.signal(jobs.Resolve)
	return l, nil
}

// hold counts a job as leased. q.mu must be held.
func (q *Queue) hold(e *entry, phase jobs.Phase) *lease {
	q.running++
	if phase == jobs.Resolve {
		q.hosts[e.host]++
		q.lanes[e.lane()].resolving++
	}
	return &lease{q: q, e: e, phase: phase, lane: e.lane()}
}

// Take implements jobs.Queue. The job stays pending until End.
func (q *Queue) Take(id string) (jobs.Lease, error) {
	if _, err := q.Get(id); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.active[id]
	if !ok || e.job.Status != job.Pending || !q.remove(e) {
		return nil, jobs.ErrStarted
	}
	if err := q.pendingJobs.MoveTo(q.runningJobs, id); err != nil {
		q.pushFront(e)
		return nil, fmt.Errorf("take %s: %w", id, err)
	}
	e.canceled = true
	return q.hold(e, q.phase(e)), nil
}

// start starts a job unless an earlier phase has started it. q.mu must be held.
func (q *Queue) start(e *entry) error {
	if e.job.Status == job.Processing {
		return nil
	}
	// The rename is not synced: if it is lost, the job is pending, which is correct.
	// A record that someone deleted matters only to the next start.
	if err := q.pendingJobs.MoveTo(q.runningJobs, e.job.ID); err != nil {
		return fmt.Errorf("lease %s: %w", e.job.ID, err)
	}
	q.log.Debug("job started", zap.String("job_id", e.job.ID))
	return e.job.Start(time.Now())
}

// release ends the lease. q.mu must be held.
func (l *lease) release() {
	q, e := l.q, l.e
	q.running--
	if l.phase != jobs.Resolve {
		return
	}
	if q.hosts[e.host]--; q.hosts[e.host] == 0 {
		delete(q.hosts, e.host)
	}
	q.lanes[l.lane].resolving--
	q.signal(jobs.Resolve)
}

// Job returns the current state of the job.
func (l *lease) Job() job.Job { return (&ticket{l.q, l.e}).Job() }

// Announced implements jobs.Lease.
func (l *lease) Announced() bool {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.e.announced
}

// SetSource records the source that was found for the job.
func (l *lease) SetSource(source job.Source, imageID string) error {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.e.job.Resolve(source, imageID)
}

// AddTimings adds to the timings of the job's stages.
func (l *lease) AddTimings(t ladder.Timings) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	l.e.job.AddTimings(t)
}

// Advance durably ends the phase Resolve: the job waits for Render. After an
// error the lease is still held.
func (l *lease) Advance() error {
	q, e := l.q, l.e
	e.record.Lock()
	err := q.rewrite(l.Job())
	e.record.Unlock()
	if err != nil {
		return fmt.Errorf("advance %s: %w", e.job.ID, err)
	}
	q.log.Debug("job resolved", zap.String("job_id", e.job.ID))
	q.mu.Lock()
	defer q.mu.Unlock()
	l.release()
	q.push(e)
	return nil
}

// End implements jobs.Lease. From now on the job is shown as ended.
func (l *lease) End(cause error) (job.Job, error) {
	q, e := l.q, l.e
	e.record.Lock() // a webhook that is being added is recorded first
	defer e.record.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	var err error
	if cause == nil {
		l.folder, err = q.doneJobs, e.job.Complete(time.Now())
	} else {
		l.folder, err = q.failedJobs, e.job.Fail(fault.From(cause), time.Now())
	}
	if err != nil {
		return job.Job{}, err
	}
	l.ended = e.job
	return l.ended, nil
}

// Record implements jobs.Lease. Until it succeeds, the job stays in memory as
// ended.
func (l *lease) Record() error {
	q, id := l.q, l.ended.ID
	if l.Announced() {
		if err := l.folder.Write(id, l.ended); err != nil {
			return err
		}
		q.log.Debug("job end recorded", zap.String("job_id", id))
	}
	if _, err := q.runningJobs.Remove(id); err != nil {
		return err
	}
	q.mu.Lock()
	delete(q.active, id)
	q.mu.Unlock()
	q.log.Debug("job ended", zap.String("job_id", id))
	return nil
}

// Wake implements jobs.Lease.
func (l *lease) Wake() {
	l.q.mu.Lock()
	l.release()
	l.q.mu.Unlock()
	close(l.e.ended)
}

// Return returns the job to the queue; it is the next to be leased.
func (l *lease) Return() error {
	q, e := l.q, l.e
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := e.job.Return(); err != nil {
		return err
	}
	l.release()
	q.pushFront(e)
	// A rename works even on a full disk. It is not synced: if it is lost, the next
	// start finds the job running and returns it to pending itself.
	if err := q.runningJobs.MoveTo(q.pendingJobs, e.job.ID); err != nil {
		return fmt.Errorf("return %s: %w", e.job.ID, err)
	}
	return nil
}

// Pass implements jobs.Lease: there is never another machine.
func (l *lease) Pass(error, func() error) (bool, error) { return false, nil }
