package jobs

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/job"
)

// finish ends a job: completed if cause is nil, failed otherwise. A crash between
// any two of its steps loses no webhook, sends none for an end that did not
// happen, and deletes no source that is still needed. docs/ARCHITECTURE.md ("The order
// of an end") documents their order.
//
// If the end cannot be recorded, usually because the disk is full, clients are
// still woken, and Settle records it later. If the daemon restarts before that,
// the job is executed again.
func (s *Service) finish(lease Lease, cause error) error {
	defer s.claims.lock(endKey(lease.Job().ID))()
	j, err := lease.End(cause) // final in memory; clients still wait
	if err != nil {
		return err
	}
	s.config.Ended(j) // a client that learns of the end finds it in the metrics
	err = s.trySettle(ending{lease, j})
	s.unindex(j)
	s.shortages.drop(j.ID)
	lease.Wake() // last
	return err
}

// EndedElsewhere drops the state of a job that was accepted or resolved here and
// ended by another machine, unless it has been retried here since. If the record is
// gone, the job is in its last known state.
func (s *Service) EndedElsewhere(j job.Job) {
	defer s.claims.lock(endKey(j.ID))()
	s.shortages.drop(j.ID)
	for _, key := range []string{j.Key(), imageKey(j.ImageID)} {
		if t := s.claims.ticket(key); t != nil && t.Job().ID == j.ID && t.Job().Retries > j.Retries {
			return
		}
	}
	s.unindex(j)
	s.releaseSource(j, true)
}

// unindex ends the joining of a job.
func (s *Service) unindex(j job.Job) {
	s.claims.unindex(j.Key(), j.ID)
	s.claims.unindex(imageKey(j.ImageID), j.ID)
}

// releaseSource deletes the source of a job from the spool, and from the store of uploads
// if the job has ended. The stored source of a recorded job that failed stays until its
// record is deleted, and so does that of a job whose record was not found.
func (s *Service) releaseSource(j job.Job, recorded bool) {
	if !j.Resolved() {
		return
	}
	s.sources.release(j.Source.SHA256, j.ID)
	if j.Status == job.Failed && recorded || !j.Status.Ended() {
		s.uploads.untrack(j.ID)
		return
	}
	s.uploads.delete(j.ID)
}

// ending is a job that has ended in memory.
type ending struct {
	lease Lease
	job   job.Job
}

// settle makes an end durable, then deletes the source and releases the webhooks.
// It may be called again after an error.
func (s *Service) settle(e ending) error {
	outbox := s.outbox(e.job)
	if err := outbox.Put(e.job); err != nil { // webhooks are durable before the end is recorded
		return fmt.Errorf("end %s: %w", e.job.ID, err)
	}
	if e.job.Status == job.Failed && e.lease.Announced() {
		s.keepSource(e)
	}
	if err := e.lease.Record(); err != nil {
		return fmt.Errorf("end %s: %w", e.job.ID, err)
	}
	s.releaseSource(e.job, e.lease.Announced())
	if e.job.Retries > 0 && e.job.Status == job.Completed {
		if err := s.DeleteSources(); err != nil {
			s.log.Warn("cannot delete kept source; housekeeping will", zap.Error(err))
		}
	}
	outbox.Release(e.job.ID) // now webhooks may be sent
	return nil
}

// outbox returns what delivers the webhooks of a job.
func (s *Service) outbox(j job.Job) Outbox {
	if len(j.Webhooks) == 0 || s.config.Outbox == nil {
		return noOutbox{}
	}
	return s.config.Outbox
}

// Settle records the ends that could not be recorded when they happened.
func (s *Service) Settle() error {
	var errs []error
	for _, e := range s.takeUnsettled(func(ending) bool { return true }) {
		unlock := s.claims.lock(endKey(e.job.ID))
		errs = append(errs, s.trySettle(e))
		unlock()
	}
	return errors.Join(errs...)
}

// settleJob is Settle for one job, whose endKey the caller has locked.
func (s *Service) settleJob(id string) (err error) {
	for _, e := range s.takeUnsettled(func(e ending) bool { return e.job.ID == id }) {
		err = s.trySettle(e)
	}
	return err
}

// takeUnsettled removes and returns the endings to settle for which wanted returns
// true.
func (s *Service) takeUnsettled(wanted func(ending) bool) (taken []ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsettled = slices.DeleteFunc(s.unsettled, func(e ending) bool {
		if wanted(e) {
			taken = append(taken, e)
			return true
		}
		return false
	})
	return taken
}

// trySettle is settle, to be called again by Settle after an error.
func (s *Service) trySettle(e ending) error {
	err := s.settle(e)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unsettled = append(s.unsettled, e)
	}
	return err
}
