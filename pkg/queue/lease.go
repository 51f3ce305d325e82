package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// Lease is a worker's hold on one job in work. It ends by exactly one of
// Complete, Fail and Return; a process that dies before that is taken to have
// returned it.
type Lease struct {
	q     *Queue
	e     *entry
	onEnd func(recorded bool)
}

// OnEnd has f called at the job's end, before those who wait for it learn of
// that. recorded says that a crash cannot undo the end: the source is not
// needed any more.
func (l *Lease) OnEnd(f func(recorded bool)) { l.onEnd = f }

// Lease waits for the next job and takes it into work. It returns ErrClosed
// when the queue is closed, the error of ctx, or that of the disk.
func (q *Queue) Lease(ctx context.Context) (*Lease, error) {
	for {
		l, err := q.tryLease()
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryLease returns neither a lease nor an error when nothing waits.
func (q *Queue) tryLease() (*Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.signal() // for the next worker
		return nil, ErrClosed
	}
	if len(q.waiting) == 0 {
		return nil, nil
	}
	e := q.waiting[0]
	// Not synced: should the rename be lost, the job is pending, as is right. A
	// record that somebody removed is missed by nobody but the next start.
	err := os.Rename(q.path(pendingDir, e.job.ID), q.path(runningDir, e.job.ID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lease %s: %w", e.job.ID, err)
	}
	if err := e.job.Start(time.Now()); err != nil {
		return nil, err
	}
	q.waiting = q.waiting[1:]
	q.running++
	if len(q.waiting) > 0 {
		q.signal()
	}
	return &Lease{q: q, e: e}, nil
}

// Job is the job as it stands.
func (l *Lease) Job() job.Job { return (&Ticket{l.q, l.e}).Job() }

// Announced reports whether somebody counts on the job's end being on record.
func (l *Lease) Announced() bool {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.e.announced
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
// memory as ended, and is done again after the next start.
func (l *Lease) end(state string, step func(*job.Job) error) error {
	q, e := l.q, l.e
	q.mu.Lock()
	err := step(&e.job)
	j, announced := e.job, e.announced // who asks from now on sees that it has ended
	q.mu.Unlock()
	if err != nil {
		return err
	}
	if announced {
		err = q.write(state, j)
	}
	if err == nil {
		if err = os.Remove(q.path(runningDir, j.ID)); errors.Is(err, os.ErrNotExist) {
			err = nil // somebody removed it, and there is nothing left to do
		}
	}
	q.mu.Lock()
	q.running--
	if err == nil {
		delete(q.active, j.ID)
	}
	q.mu.Unlock()
	if l.onEnd != nil {
		l.onEnd(err == nil)
	}
	close(e.ended)
	if err != nil {
		return fmt.Errorf("end %s: %w", j.ID, err)
	}
	return nil
}

// Return puts the job back: it is the next to be leased.
func (l *Lease) Return() error {
	q := l.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := l.e.job.Return(); err != nil {
		return err
	}
	q.running--
	q.waiting = append([]*entry{l.e}, q.waiting...)
	q.signal()
	// By a rename, which a full disk allows too. It is not synced: should it be
	// lost, the next start finds the job in work, and takes it back itself.
	err := os.Rename(q.path(runningDir, l.e.job.ID), q.path(pendingDir, l.e.job.ID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("return %s: %w", l.e.job.ID, err)
	}
	return nil
}
