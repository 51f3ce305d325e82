package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Lease is a worker's hold on a running job. It must be ended by exactly one of
// Complete, Fail, Return and, in stage Resolve, Advance. A crash counts as
// Return.
type Lease struct {
	q      *Queue
	e      *entry
	stage  Stage
	ending Ending

	// Set at the end:
	ended     job.Job
	state     string // directory of its record
	announced bool   // the end must be recorded
}

// Ending holds the callbacks for a job's end.
type Ending struct {
	// Before is called with the ended job before its end is recorded. If it
	// returns an error, the job counts as not ended and is repeated after the
	// next start.
	Before func(job.Job) error
	// After is called before waiting clients are notified. recorded reports that
	// a crash cannot undo the end, so the source is no longer needed. If it is
	// false, Settle may call After again.
	After func(j job.Job, recorded bool)
}

// OnEnd sets the callbacks for the job's end.
func (l *Lease) OnEnd(e Ending) { l.ending = e }

// Lease blocks until a job of the stage is available and starts it. It returns
// ErrClosed if the queue is closed, ctx's error, or an I/O error.
func (q *Queue) Lease(ctx context.Context, stage Stage) (*Lease, error) {
	for ctx.Err() == nil { // jobs returned during shutdown wait for the next start
		l, err := q.tryLease(stage)
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-q.wake[stage]:
		case <-ctx.Done():
		}
	}
	q.signal(stage) // pass on a signal that may have been for another worker
	return nil, ctx.Err()
}

// tryLease returns nil, nil if no job is ready.
func (q *Queue) tryLease(stage Stage) (*Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.signal(stage) // wake the next worker
		return nil, ErrClosed
	}
	e := q.pop(stage)
	if e == nil {
		return nil, nil
	}
	if err := q.start(e); err != nil {
		q.pushFront(e)
		return nil, err
	}
	e.job.AddTimings(ladder.Timings{ladder.StageQueue: time.Since(e.waitingSince)})
	q.running++
	if stage == Resolve {
		q.hosts[e.host]++
		q.lanes[e.lane()].resolving++
	}
	q.signal(stage) // there may be another job
	q.signal(Resolve)
	return &Lease{q: q, e: e, stage: stage}, nil
}

// start starts a job unless an earlier stage has. q.mu must be held.
func (q *Queue) start(e *entry) error {
	if e.job.Status == job.Processing {
		return nil
	}
	// Not synced: if the rename is lost, the job is pending, which is correct. A
	// missing record only matters to the next start.
	err := os.Rename(q.path(pendingDir, e.job.ID), q.path(runningDir, e.job.ID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("lease %s: %w", e.job.ID, err)
	}
	q.log.Debug("job started", zap.String("job_id", e.job.ID))
	return e.job.Start(time.Now())
}

// release ends the lease. q.mu must be held.
func (l *Lease) release() {
	q, e := l.q, l.e
	q.running--
	if l.stage != Resolve {
		return
	}
	if q.hosts[e.host]--; q.hosts[e.host] == 0 {
		delete(q.hosts, e.host)
	}
	q.lanes[e.lane()].resolving--
	q.signal(Resolve)
}

// Job returns the current state of the job.
func (l *Lease) Job() job.Job { return (&Ticket{l.q, l.e}).Job() }

// Announced reports whether a client relies on the job's end being recorded.
func (l *Lease) Announced() bool {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.e.announced
}

// Resolve sets the source of the job.
func (l *Lease) Resolve(source job.Source, imageID string) error {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.e.job.Resolve(source, imageID)
}

// AddTimings adds to the timings of the job's stages.
func (l *Lease) AddTimings(t ladder.Timings) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	l.e.job.AddTimings(t)
}

// Advance durably ends the stage Resolve: the job waits for Render. After an
// error the lease is still held.
func (l *Lease) Advance() error {
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

// Complete ends the job; its set is published.
func (l *Lease) Complete() error {
	return l.end(doneDir, func(j *job.Job) error { return j.Complete(time.Now()) })
}

// Fail ends the job with an error.
func (l *Lease) Fail(cause *fault.Error) error {
	return l.end(failedDir, func(j *job.Job) error { return j.Fail(cause, time.Now()) })
}

// end records the end of a job, if its id was returned to a client, before
// waiting clients are notified. If the record cannot be written, the job stays
// in memory as ended, for Settle, and is repeated if a restart comes first.
func (l *Lease) end(state string, step func(*job.Job) error) error {
	q, e := l.q, l.e
	e.record.Lock()
	q.mu.Lock()
	err := step(&e.job)
	l.ended, l.state, l.announced = e.job, state, e.announced // from now on it is visible that the job has ended
	q.mu.Unlock()
	if err == nil {
		err = l.record()
	}
	e.record.Unlock()
	if !l.ended.Status.Ended() {
		return err
	}
	q.mu.Lock()
	l.release()
	if err != nil {
		q.unsettled = append(q.unsettled, l)
	}
	q.mu.Unlock()
	l.after(err)
	close(e.ended)
	if err != nil {
		return fmt.Errorf("end %s: %w", l.ended.ID, err)
	}
	return nil
}

// record makes the end durable. e.record must be held.
func (l *Lease) record() error {
	q, id := l.q, l.ended.ID
	if l.ending.Before != nil {
		if err := l.ending.Before(l.ended); err != nil {
			return err
		}
	}
	if l.announced {
		if err := q.write(l.state, l.ended); err != nil {
			return err
		}
		q.log.Debug("job end recorded", zap.String("job_id", id))
	}
	if err := os.Remove(q.path(runningDir, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // a missing record was deleted by someone else, and nothing remains to be done
	}
	q.mu.Lock()
	delete(q.active, id)
	q.mu.Unlock()
	q.log.Debug("job ended", zap.String("job_id", id))
	return nil
}

func (l *Lease) after(err error) {
	if l.ending.After != nil {
		l.ending.After(l.ended, err == nil)
	}
}

// Settle records the ends that could not be recorded before, usually because
// the disk was full.
func (q *Queue) Settle() error {
	q.mu.Lock()
	late := q.unsettled
	q.unsettled = nil
	q.mu.Unlock()
	var errs []error
	for _, l := range late {
		l.e.record.Lock()
		err := l.record()
		l.e.record.Unlock()
		if err != nil {
			errs = append(errs, fmt.Errorf("end %s: %w", l.ended.ID, err))
			q.mu.Lock()
			q.unsettled = append(q.unsettled, l)
			q.mu.Unlock()
			continue
		}
		l.after(nil)
	}
	return errors.Join(errs...)
}

// Return returns the job to the queue; it is the next to be leased.
func (l *Lease) Return() error {
	q, e := l.q, l.e
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := e.job.Return(); err != nil {
		return err
	}
	l.release()
	q.pushFront(e)
	// A rename also works on a full disk. It is not synced: if it is lost, the
	// next start finds the job running and recovers it.
	err := os.Rename(q.path(runningDir, e.job.ID), q.path(pendingDir, e.job.ID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("return %s: %w", e.job.ID, err)
	}
	return nil
}
