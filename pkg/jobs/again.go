package jobs

import (
	"context"
	"errors"
	"io/fs"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// List returns at most limit jobs, newest first, as Queue.List does.
func (s *Service) List(status job.Status, before string, limit int) (page []job.Job, more bool, err error) {
	return s.config.Queue.List(status, before, limit)
}

// Retry queues a failed job again, under its id and with its recipe. It returns a
// NotFound fault, a Conflict fault if the job has not failed, or if it was an upload
// whose source is no longer kept, or an InsufficientStorage fault.
func (s *Service) Retry(ctx context.Context, id string) (Ticket, error) {
	if err := s.running(); err != nil {
		return nil, err
	}
	if t, active := s.config.Queue.Ticket(id); active && t.Job().Status == job.Failed {
		t.Wait(ctx) // its end is being recorded
	}
	defer s.claims.lock(endKey(id))()
	j, err := s.Get(id)
	if err != nil {
		return nil, err
	}
	unrecorded := s.settleJob(id)
	_, active := s.config.Queue.Ticket(id)
	switch {
	case active && j.Status == job.Failed:
		return nil, fault.Wrap(fault.InsufficientStorage, unrecorded, "The failure of this job could not be stored yet, usually because the disk is full; free some space and try again.")
	case active || j.Status != job.Failed:
		return nil, fault.New(fault.Conflict, "The job has not failed; only a failed job can be retried.")
	}
	if err := s.ready(0, 0); err != nil {
		return nil, err
	}
	place, err := s.config.Queue.Reserve(false)
	if err != nil {
		return nil, err
	}
	defer place.Release()
	if err := j.Retry(); err != nil {
		return nil, err
	}
	t, err := s.putAgain(place, j)
	if err != nil {
		return nil, err
	}
	s.log.Info("job retried", zap.String("job_id", id))
	return t, nil
}

// putAgain makes a retried job durable, the source of an upload first.
func (s *Service) putAgain(place Place, j job.Job) (t Ticket, err error) {
	if !j.Resolved() {
		if t, err = place.Put(j); err == nil {
			s.claims.index(j.Key(), t)
		}
		return t, err
	}
	defer s.claims.lock(imageKey(j.ImageID))()
	s.sources.retain(j.Source.SHA256, j.ID)
	s.uploads.recover(j)
	if err = s.restoreSource(j); err == nil {
		t, err = place.Put(j)
	}
	if err != nil || t.Job().ID != j.ID { // an equal job of another machine continues
		s.uploads.untrack(j.ID)
		s.sources.release(j.Source.SHA256, j.ID)
	}
	if err != nil {
		return nil, err
	}
	s.claims.index(imageKey(j.ImageID), t)
	return t, nil
}

// restoreSource makes sure that the source of a failed upload is where a worker
// looks for it. It returns a Conflict fault if it is no longer kept. It stays kept
// until the job is completed, so that a crash loses nothing.
func (s *Service) restoreSource(j job.Job) error {
	if s.config.Sets.Has(j.ImageID) { // an equal upload was completed meanwhile
		return nil
	}
	missing := s.config.Spool.Retry(j.Source.SHA256, j.ID)
	if !errors.Is(missing, fs.ErrNotExist) {
		return missing
	}
	source, err := s.uploads.fetch(context.Background(), j, s.config.Spool, missing)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(fault.Conflict, err, "The source of this upload is no longer kept; upload it again.")
	case err != nil:
		return err
	}
	return source.Close()
}

// keepSource keeps the source of a failed job if it was uploaded: there may be no
// other copy. That of any other job is no longer needed.
func (s *Service) keepSource(e ending) {
	j := e.job
	if j.Input != "" {
		return
	}
	if err := s.config.Spool.KeepForRetry(j.Source.SHA256, j.ID); err != nil { // the job has failed all the same
		s.log.Warn("cannot keep source; the job cannot be retried", zap.String("job_id", j.ID), zap.Error(err))
		return
	}
	s.log.Debug("source kept for a retry", zap.String("job_id", j.ID))
}

// DeleteSources deletes the sources kept for failed jobs that have since been
// completed or no longer have a record.
func (s *Service) DeleteSources() error {
	return s.config.Spool.DeleteRetries(s.Retryable)
}

// Retryable reports whether the source of an upload may still be needed: its job
// has not ended, or has failed and has a record.
func (s *Service) Retryable(jobID string) bool {
	if s.config.Queue.Unended(jobID) {
		return true
	}
	j, err := s.config.Queue.Get(jobID)
	return err == nil && j.Status != job.Completed || err != nil && fault.CodeOf(err) != fault.NotFound
}

// Cancel ends a job that has not started, as failed with Canceled. It returns a
// NotFound fault, or a Conflict fault if the job has started or ended.
func (s *Service) Cancel(id string) error {
	if _, err := s.Get(id); err != nil {
		return err
	}
	lease, err := s.config.Queue.Take(id)
	if err != nil {
		return err
	}
	s.unindex(lease.Job()) // an equal request is a new job from now on
	log := s.log.With(zap.String("job_id", id))
	log.Info("job canceled")
	s.logRecordError(log, s.finish(lease, fault.New(fault.Canceled, "The job was canceled before it started.")))
	return nil
}
