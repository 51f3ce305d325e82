package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Run executes jobs with the given numbers of workers until the queue is closed and the
// jobs in progress have ended. If giveUp is done first, they return to the queue.
// background is the number of workers dedicated to background jobs; with 0 the
// renderers execute these, too.
func (s *Service) Run(giveUp context.Context, resolvers, renderers, background int) error {
	fetching, stop := context.WithCancel(giveUp)
	defer stop()
	go func() {
		select {
		case <-s.config.Stopping:
			stop()
		case <-fetching.Done():
		}
	}()
	var group errgroup.Group
	for range resolvers {
		group.Go(func() error { return s.work(fetching, s.lease(fetching, Resolve), s.resolve) })
	}
	for i := range renderers {
		lease := s.lease(giveUp, Render)
		switch {
		case s.config.Throttle == nil:
		case i == 0:
			lease = s.leaseWithRest(giveUp, fetching)
		default:
			lease = s.leaseWhileCool(giveUp, fetching, Render)
		}
		group.Go(func() error { return s.work(giveUp, lease, s.render) })
	}
	for range background {
		lease := s.lease(giveUp, Background)
		if s.config.Throttle != nil {
			lease = s.leaseWhileCool(giveUp, fetching, Background)
		}
		group.Go(func() error { return s.work(giveUp, lease, s.render) })
	}
	return group.Wait()
}

// leaseFunc waits for the next job of a phase.
type leaseFunc func() (Lease, error)

func (s *Service) lease(ctx context.Context, phase Phase) leaseFunc {
	return func() (Lease, error) { return s.config.Queue.Lease(ctx, phase) }
}

// leaseWhileCool waits for the next job of a phase, and leases none while the
// machine is too hot. If the daemon stops meanwhile, this worker ends: the one
// that is not throttled executes the remaining jobs.
func (s *Service) leaseWhileCool(giveUp, running context.Context, phase Phase) leaseFunc {
	return func() (Lease, error) {
		for {
			if err := s.config.Throttle.Wait(running); err != nil {
				return nil, ErrQueueClosed
			}
			cool, cancel := context.WithCancel(s.config.Throttle.Cool())
			stop := context.AfterFunc(giveUp, cancel)
			lease, err := s.config.Queue.Lease(cool, phase)
			hot := errors.Is(err, context.Canceled) && giveUp.Err() == nil
			stop()
			cancel()
			if !hot {
				return lease, err
			}
		}
	}
}

// leaseWithRest waits for the next job to render. It is for the one worker that
// continues while the machine is too hot: since it may be the only one, it then
// pauses after each image for as long as the image took.
func (s *Service) leaseWithRest(giveUp, running context.Context) leaseFunc {
	var began time.Time
	return func() (Lease, error) {
		if !began.IsZero() && s.config.Throttle.Cool().Err() != nil {
			sleep(running, time.Since(began))
		}
		lease, err := s.config.Queue.Lease(giveUp, Render)
		began = time.Now()
		return lease, err
	}
}

// phaseFunc executes one phase of a job. If advanced is set, the job waits for the
// next phase and its lease has ended; otherwise the caller must end the job.
type phaseFunc func(context.Context, Lease) (advanced bool, err error)

// How long a worker pauses after a temporary failure of the machine. The pause doubles
// with each consecutive one, since each moves a record and logs a line: an outage may
// last for hours, and an SD card wears out.
const (
	firstPause   = 2 * time.Second
	longestPause = 30 * time.Second
)

func (s *Service) work(giveUp context.Context, next leaseFunc, do phaseFunc) error {
	for pause := firstPause; ; {
		lease, err := next()
		switch {
		case errors.Is(err, ErrQueueClosed), err != nil && giveUp.Err() != nil:
			return nil //nolint:nilerr // stopping is not a failure
		case err != nil:
			s.log.Error("cannot lease a job", zap.Error(err))
		default:
			if failed := s.do(giveUp, lease, do); !failed {
				pause = firstPause
				continue
			}
		}
		s.rest(giveUp, pause)
		pause = min(2*pause, longestPause)
	}
}

// rest pauses for d, and while the daemon stops for no longer than firstPause.
func (s *Service) rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	case <-s.config.Stopping:
		sleep(ctx, firstPause)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// do executes one phase of a job and ends the job or returns it to the queue. failed is
// set if the job was returned because of a temporary failure of the machine.
func (s *Service) do(giveUp context.Context, lease Lease, do phaseFunc) (failed bool) {
	need := s.shortages.of(lease.Job().ID)
	err := s.ready(need, need) // a temporary failure, before anything is fetched or rendered
	if err == nil {
		advanced, phaseErr := do(giveUp, lease)
		if advanced {
			return false
		}
		err = phaseErr
	}
	j := lease.Job()
	log := s.log.With(zap.String("job_id", j.ID), zap.String("image_id", j.ImageID))
	if err != nil && giveUp.Err() == nil {
		ok, passErr := s.pass(lease, err)
		if ok {
			s.logRecordError(log, passErr)
			return false
		}
		if passErr != nil {
			err = passErr
		}
	}
	switch {
	case err != nil && giveUp.Err() != nil:
		log.Info("job returned to the queue")
		s.logRecordError(log, s.returnJob(lease))
		return false
	case isTemporary(err) && lease.Announced():
		log.Warn("job requeued after a temporary failure", zap.Error(err))
		s.logRecordError(log, s.returnJob(lease))
		return true
	case err != nil:
		logFailure(log, j, err)
	}
	s.logRecordError(log, s.finish(lease, err))
	return false
}

// pass leaves a job that failed with cause to another machine that may execute it, if
// there is one.
func (s *Service) pass(lease Lease, cause error) (ok bool, err error) {
	j := lease.Job()
	ok, err = lease.Pass(cause, func() error {
		if t, active := s.config.Queue.Ticket(j.ID); active {
			return s.persist(t)
		}
		return nil
	})
	if ok {
		s.unresolve(j)
	}
	return ok, err
}

// returnJob returns a job to the queue.
func (s *Service) returnJob(lease Lease) error {
	if s.config.Shared {
		s.unresolve(lease.Job()) // before it may be leased again
	}
	return lease.Return()
}

// unresolve drops the source that was found here for a job: another machine may
// execute the job, and gets its own, or none.
func (s *Service) unresolve(j job.Job) {
	if j.Input != "" && j.Resolved() {
		s.claims.unindex(imageKey(j.ImageID), j.ID)
		s.sources.release(j.Source.SHA256, j.ID)
	}
}

// logFailure logs that a job failed. For an upload it is the only line above debug level.
func logFailure(log *zap.Logger, j job.Job, err error) {
	write, code := log.Warn, fault.CodeOf(err)
	if code == fault.Internal {
		write = log.Error
	}
	took := time.Duration(0)
	if j.StartedAt != nil {
		took = time.Since(j.StartedAt.Time)
	}
	write("job failed", zap.String("result", string(code)), zap.String("filename", j.Source.Filename), zap.Int64("bytes_in", j.Source.Bytes),
		zap.Duration("took", took), zap.String("request_id", j.RequestID), zap.Error(err))
}

// logRecordError logs an error that cannot be reported to a client. Settle retries an
// end, the next start anything else.
func (s *Service) logRecordError(log *zap.Logger, err error) {
	if err != nil {
		log.Error("cannot update job record", zap.Error(err))
	}
}

// isTemporary reports whether another attempt may succeed because the machine
// caused err, not the image: a full disk, a codec that does not start, or an
// unreachable object store.
func isTemporary(err error) bool {
	var down *codec.Unavailable
	var end permanent
	if errors.As(err, &end) {
		return false
	}
	code := fault.CodeOf(err)
	return code == fault.InsufficientStorage || code == fault.Unavailable || errors.As(err, &down)
}

// permanent marks an error that isTemporary must not report as temporary.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// render makes the set of a job whose source is in the spool. Jobs for the same
// image are serialized: the second finds the set of the first.
func (s *Service) render(ctx context.Context, lease Lease) (advanced bool, err error) {
	j := lease.Job()
	defer s.claims.lock(renderKey(j.ImageID))()
	s.sources.retain(j.Source.SHA256, j.ID) // it may have been accepted by another machine
	if _, err := s.config.Sets.Get(j.ImageID); fault.CodeOf(err) != fault.NotFound {
		if err == nil { // by an earlier job, or before a power cut, which may have lost the source
			err = s.recordVariant(ctx, j)
		}
		return false, err
	}
	src, err := s.config.Spool.Source(j.Source.SHA256)
	if err != nil {
		if src, err = s.uploads.fetch(ctx, j, s.config.Spool, err); err != nil {
			return false, fmt.Errorf("open source: %w", err)
		}
	}
	defer src.Close()
	if err := s.config.Quarantine.Check(j.Source.SHA256); err != nil { // the first check of a source by URL
		return false, err
	}
	_, took, err := s.config.Renderer.Render(ctx, src, j)
	lease.AddTimings(took)
	if fault.CodeOf(err) == fault.ProcessingFailed {
		s.addToQuarantine(j.Source, err)
	}
	var short *render.Short
	if errors.As(err, &short) {
		s.shortages.set(j.ID, short.Bytes)
	}
	return false, err
}

// addToQuarantine records an image that crashed the codec twice, so that it is
// refused from now on.
func (s *Service) addToQuarantine(source job.Source, cause error) {
	err := s.config.Quarantine.Add(quarantine.Entry{
		SHA256: source.SHA256, Filename: source.Filename, Bytes: source.Bytes,
		Reason: cause.Error(), At: strictjson.At(time.Now()),
	})
	if err != nil {
		s.log.Error("cannot quarantine image", zap.Error(err))
	}
}
