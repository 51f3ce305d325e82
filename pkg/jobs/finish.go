package jobs

import (
	"errors"
	"fmt"

	"github.com/optimizerd/optimizerd/pkg/job"
)

// finish ends a job: completed if cause is nil, failed otherwise. A crash between
// any two of its steps loses no webhook, sends none for an end that did not
// happen, and deletes no source that is still needed; the documentation promises
// their order.
//
// If the end cannot be recorded, usually because the disk is full, clients are
// still woken, and Settle records it later. After an earlier restart the job is
// executed again.
func (s *Service) finish(lease Lease, cause error) error {
	j, err := lease.End(cause) // final in memory; clients still wait
	if err != nil {
		return err
	}
	e := ending{lease, j}
	err = s.settle(e)
	s.claims.unindex(j.Key(), j.ID)
	s.claims.unindex(imageKey(j.ImageID), j.ID)
	lease.Wake() // last
	s.config.Ended(j)
	if err != nil {
		s.mu.Lock()
		s.unsettled = append(s.unsettled, e)
		s.mu.Unlock()
	}
	return err
}

// ending is a job that has ended in memory.
type ending struct {
	lease Lease
	job   job.Job
}

// settle makes an end durable, then deletes the source and releases the webhooks.
// It may be called again after an error.
func (s *Service) settle(e ending) error {
	if err := s.config.Outbox.Put(e.job); err != nil { // webhooks are durable before the end is recorded
		return fmt.Errorf("end %s: %w", e.job.ID, err)
	}
	if err := e.lease.Record(); err != nil {
		return fmt.Errorf("end %s: %w", e.job.ID, err)
	}
	if e.job.Resolved() {
		s.sources.release(e.job.Source.SHA256)
	}
	s.config.Outbox.Release(e.job.ID) // now webhooks may be sent
	return nil
}

// Settle records the ends that could not be recorded when they happened.
func (s *Service) Settle() error {
	s.mu.Lock()
	late := s.unsettled
	s.unsettled = nil
	s.mu.Unlock()
	var errs []error
	for _, e := range late {
		if err := s.settle(e); err != nil {
			errs = append(errs, err)
			s.mu.Lock()
			s.unsettled = append(s.unsettled, e)
			s.mu.Unlock()
		}
	}
	return errors.Join(errs...)
}
