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

// Lease is a worker's hold on one job in work. It ends by exactly one of
// Complete, Fail, Return and, in the stage Resolve, Advance; a process that
// dies before that is taken to have returned it.
type Lease struct {
	q      *Queue
	e      *entry
	stage  Stage
	ending Ending

	// Of the end:
	ended     job.Job
	state     string // the folder of its record
	announced bool   // there is to be one
}

// Ending is what else happens when a job ends.
type Ending struct {
	// Before is called with the job as it ends, before that is on record. After
	// an error from it the job counts as not ended, and is done again after the
	// next start.
	Before func(job.Job) error
	// After is called before those who wait for the job learn of its end.
	// recorded says that a crash cannot undo the end: the source is not needed
	// any more. When it is false, Settle may call After again.
	After func(j job.Job, recorded bool)
}

// OnEnd sets what happens at the job's end.
func (l *Lease) OnEnd(e Ending) { l.ending = e }

// Lease waits for the next job of a stage and takes it into work. It returns
// ErrClosed when the queue is closed, the error of ctx, or that of the disk.
func (q *Queue) Lease(ctx context.Context, stage Stage) (*Lease, error) {
	for ctx.Err() == nil { // what is put back at a stop waits for the next start
		l, err := q.tryLease(stage)
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-q.wake[stage]:
		case <-ctx.Done():
		}
	}
	q.signal(stage) // what this one may have been woken for is another worker's
	return nil, ctx.Err()
}

// tryLease returns neither a lease nor an error when nothing waits.
func (q *Queue) tryLease(stage Stage) (*Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.signal(stage) // for the next worker
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
	q.signal(stage) // there may be one more
	q.signal(Resolve)
	return &Lease{q: q, e: e, stage: stage}, nil
}

// start takes a job into work, unless an earlier stage has. q.mu is held.
func (q *Queue) start(e *entry) error {
	if e.job.Status == job.Processing {
		return nil
	}
	// Not synced: should the rename be lost, the job is pending, as is right. A
	// record that somebody removed is missed by nobody but the next start.
	err := os.Rename(q.path(pendingDir, e.job.ID), q.path(runningDir, e.job.ID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("lease %s: %w", e.job.ID, err)
	}
	q.log.Debug("job started", zap.String("job_id", e.job.ID))
	return e.job.Start(time.Now())
}

// release is the end of a lease. q.mu is held.
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

// Job is the job as it stands.
func (l *Lease) Job() job.Job { return (&Ticket{l.q, l.e}).Job() }

// Announced reports whether somebody counts on the job's end being on record.
func (l *Lease) Announced() bool {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.e.announced
}

// Resolve says which picture the job was found to be of.
func (l *Lease) Resolve(source job.Source, imageID string) error {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.e.job.Resolve(source, imageID)
}

// Took adds what stages of the work have taken.
func (l *Lease) AddTimings(t ladder.Timings) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	l.e.job.AddTimings(t)
}

// Advance ends the stage Resolve, durably: the job waits for Render. After an
// error the lease still holds.
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

// Complete ends the job: its set is published.
func (l *Lease) Complete() error {
	return l.end(doneDir, func(j *job.Job) error { return j.Complete(time.Now()) })
}

// Fail ends the job for good.
func (l *Lease) Fail(cause *fault.Error) error {
	return l.end(failedDir, func(j *job.Job) error { return j.Fail(cause, time.Now()) })
}

// end writes the record, if anybody was told of the job, before its waiters
// learn of the end. Should the record not reach the disk, the job stays in
// memory as ended, for Settle; and is done again after the next start, if that
// comes first.
func (l *Lease) end(state string, step func(*job.Job) error) error {
	q, e := l.q, l.e
	e.record.Lock()
	q.mu.Lock()
	err := step(&e.job)
	l.ended, l.state, l.announced = e.job, state, e.announced // who asks from now on sees that it has ended
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

// record makes the end durable. e.record is held.
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
		return err // one that is not there, somebody removed, and there is nothing left to do
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

// Settle records the ends that could not be recorded when they came, for which
// a full disk is the usual reason.
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

// Return puts the job back: it is the next to be leased.
func (l *Lease) Return() error {
	q, e := l.q, l.e
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := e.job.Return(); err != nil {
		return err
	}
	l.release()
	q.pushFront(e)
	// By a rename, which a full disk allows too. It is not synced: should it be
	// lost, the next start finds the job in work, and takes it back itself.
	err := os.Rename(q.path(runningDir, e.job.ID), q.path(pendingDir, e.job.ID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("return %s: %w", e.job.ID, err)
	}
	return nil
}
