package optimize

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/intake"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/queue"
	"github.com/optimizerd/optimizerd/pkg/timestamp"
)

// Deps are what a Service works with.
type Deps struct {
	Maker      *Maker
	Queue      *queue.Queue
	Spool      *intake.Spool
	Quarantine *quarantine.Store
	Recipe     ladder.Recipe // of new jobs; a job keeps that which it was accepted with
	Log        *zap.Logger
	Ended      func(job.Job) // told of every job that ended here; may be nil
}

// Service does the queue's jobs, each image once.
type Service struct {
	Deps

	mu       sync.Mutex
	inFlight map[string]*queue.Ticket // by image id
	users    map[string]int           // of a source in the spool, by digest
}

// New takes over the jobs that the queue recovered, and sweeps from the spool
// what none of them needs.
func New(deps Deps) (*Service, error) {
	if deps.Ended == nil {
		deps.Ended = func(job.Job) {}
	}
	s := &Service{Deps: deps, inFlight: make(map[string]*queue.Ticket), users: make(map[string]int)}
	for _, j := range s.Queue.Active() {
		if t, ok := s.Queue.Ticket(j.ID); ok {
			s.inFlight[j.ImageID] = t
			s.users[j.Source.SHA256]++
		}
	}
	return s, s.Spool.Sweep(func(digest string) bool { return s.users[digest] > 0 })
}

// Submission is what became of an upload: a manifest that was there already,
// or a job.
type Submission struct {
	Manifest *manifest.Manifest
	Ticket   *queue.Ticket
	Joined   bool // the job is that of an equal upload, and somebody else's
}

// Submit takes over an upload. When it returns a ticket, the job is durable.
// The caller still releases the place and discards the upload; whatever became
// theirs is not touched by that.
func (s *Service) Submit(place *queue.Place, upload *intake.Upload) (Submission, error) {
	id := s.Recipe.ID(upload.SHA256)
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, err := s.Maker.Store.Get(id); err == nil {
		return Submission{Manifest: &m}, nil
	}
	if t, ok := s.inFlight[id]; ok {
		return Submission{Ticket: t, Joined: true}, nil
	}
	if err := s.Quarantine.Check(upload.Digest()); err != nil {
		return Submission{}, err
	}
	if err := upload.Keep(); err != nil {
		return Submission{}, err
	}
	source := job.Source{SHA256: upload.Digest(), Filename: upload.Filename, Bytes: upload.Bytes}
	t, err := place.Put(job.New(source, s.Recipe, id, time.Now()))
	if err != nil {
		if s.users[source.SHA256] == 0 {
			s.dropSource(source.SHA256)
		}
		return Submission{}, err
	}
	s.inFlight[id] = t
	s.users[source.SHA256]++
	return Submission{Ticket: t}, nil
}

// Run works with this many workers until the queue is closed and the jobs at
// hand have ended. When giveUp ends first, these go back to the queue.
func (s *Service) Run(giveUp context.Context, workers int) error {
	var group errgroup.Group
	for range workers {
		group.Go(func() error { return s.work(giveUp) })
	}
	return group.Wait()
}

// pauseTime is how long a worker leaves a machine alone whose disk is full, or
// that starts no codec.
const pauseTime = 2 * time.Second

func (s *Service) work(giveUp context.Context) error {
	for {
		lease, err := s.Queue.Lease(giveUp)
		switch {
		case errors.Is(err, queue.ErrClosed), giveUp.Err() != nil:
			return nil
		case err != nil:
			s.Log.Error("the queue gives no job", zap.Error(err))
			wait(giveUp, pauseTime)
			continue
		}
		if pause := s.do(giveUp, lease); pause {
			wait(giveUp, pauseTime)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// mayPass reports whether err is the machine's and not the picture's: a full
// disk, or a codec that does not start.
func (s *Service) mayPass(err error) bool {
	var codecDown *codec.Unavailable
	return fault.CodeOf(err) == fault.InsufficientStorage || errors.As(err, &codecDown)
}

// do works one job to its end or back into the queue; pause says that the
// machine was the reason for the latter.
func (s *Service) do(giveUp context.Context, lease *queue.Lease) (pause bool) {
	j := lease.Job()
	log := s.Log.With(zap.String("job_id", j.ID), zap.String("image_id", j.ImageID))
	err := s.make(giveUp, j)
	switch {
	case err != nil && giveUp.Err() != nil:
		log.Info("job goes back to the queue")
		s.check(log, lease.Return())
		return false
	case s.mayPass(err) && lease.Announced():
		log.Warn("job waits until this has passed", zap.Error(err))
		s.check(log, lease.Return())
		return true
	}
	lease.OnEnd(func(recorded bool) { s.forget(j, recorded) })
	if err == nil {
		s.check(log, lease.Complete())
	} else {
		log.Warn("job failed", zap.Error(err))
		s.remember(j.Source, err)
		s.check(log, lease.Fail(fault.From(err)))
	}
	s.Ended(lease.Job())
	return false
}

// forget lets go of a job that ends: whoever asks after this finds the set, or
// starts anew. A source goes only when the end is on record: a crash before
// that has the job done again.
func (s *Service) forget(j job.Job, recorded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inFlight, j.ImageID)
	if !recorded {
		return
	}
	s.users[j.Source.SHA256]--
	if s.users[j.Source.SHA256] == 0 {
		s.dropSource(j.Source.SHA256)
	}
}

// remember keeps a source that killed its codec processes from doing so again.
func (s *Service) remember(source job.Source, err error) {
	if fault.CodeOf(err) != fault.ProcessingFailed {
		return
	}
	entry := quarantine.Entry{
		SHA256: source.SHA256, Filename: source.Filename, Bytes: source.Bytes,
		Reason: err.Error(), At: timestamp.At(time.Now()),
	}
	if err := s.Quarantine.Add(entry); err != nil {
		s.Log.Error("a source that kills codec processes is not remembered", zap.Error(err))
	}
}

func (s *Service) make(ctx context.Context, j job.Job) error {
	if err := s.Spool.Room(0); err != nil {
		return err
	}
	src, err := s.Spool.Source(j.Source.SHA256)
	if err != nil && !s.Maker.Store.Has(j.ImageID) { // published just before a power cut: src is not needed
		return fmt.Errorf("open source: %w", err)
	}
	defer src.Close()
	_, err = s.Maker.Make(ctx, src, j.Source, j.Recipe, j.ImageID)
	return err
}

// dropSource removes a source that no job needs. s.mu is held.
func (s *Service) dropSource(digest string) {
	delete(s.users, digest)
	if err := s.Spool.Remove(digest); err != nil {
		s.Log.Error("a source stays in the spool until the next start", zap.Error(err))
	}
}

// check logs an error that the job's client cannot be told: the step is done
// again after the next start.
func (s *Service) check(log *zap.Logger, err error) {
	if err != nil {
		log.Error("job record not updated", zap.Error(err))
	}
}
