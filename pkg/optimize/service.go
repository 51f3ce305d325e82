package optimize

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/intake"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/queue"
	"github.com/optimizerd/optimizerd/pkg/timestamp"
)

// Deps are what a Service works with.
type Deps struct {
	Maker      *Maker
	Queue      *queue.Queue
	Spool      *intake.Spool
	Fetcher    Fetcher
	Quarantine *quarantine.Store
	Outbox     Outbox          // of webhooks; may be nil where no job has any
	Ladder     ladder.Config   // of new jobs; a job keeps the recipe that it was accepted with
	Writes     []ladder.Format // what the engine can write
	Log        *zap.Logger
	Ended      func(job.Job)   // told of every job that ended here; may be nil
	Stopping   <-chan struct{} // closed when pictures are not to be fetched any more; may be nil
	Throttle   Throttle        // holds renderers back; may be nil
}

// Throttle slows the work down while the machine is too hot for all of it.
type Throttle interface {
	// Cool ends when it becomes too hot, and has ended while it is.
	Cool() context.Context
	// Wait blocks while it is too hot. Its error is that of ctx.
	Wait(ctx context.Context) error
}

// Fetcher brings the picture at a URL into the spool.
type Fetcher interface {
	Fetch(ctx context.Context, url string) (*intake.Upload, error)
}

// Outbox tells the world of ended jobs.
type Outbox interface {
	// Put is called before a job's end is on record, and makes durable that it
	// will be told.
	Put(job.Job) error
	// Release is called when the end is on record, and may be told.
	Release(jobID string)
}

// Service does the queue's jobs, each image once.
type Service struct {
	Deps
	recipe    ladder.Recipe // of uploads
	rendering singleflight.Group
	keyLocks  [numKeyLocks]sync.Mutex

	// mu is not held while something is synced: every end of a job needs it, and
	// a disk syncs for several at once nearly as fast as for one.
	mu       sync.Mutex
	inFlight map[string]*queue.Ticket // by image id; one of them, if several jobs are for one image
	requests map[string]*queue.Ticket // by what their clients asked for
	users    map[string]int           // of a source in the spool, by digest
}

// New takes over the jobs that the queue recovered, and sweeps from the spool
// what none of them needs.
func New(deps Deps) (*Service, error) {
	if deps.Ended == nil {
		deps.Ended = func(job.Job) {}
	}
	s := &Service{
		Deps: deps, recipe: deps.Ladder.Recipe(),
		inFlight: make(map[string]*queue.Ticket), requests: make(map[string]*queue.Ticket), users: make(map[string]int),
	}
	for _, j := range s.Queue.Active() {
		t, ok := s.Queue.Ticket(j.ID)
		if !ok {
			continue
		}
		if j.Input != "" {
			s.requests[j.Key()] = t
		}
		if j.Resolved() {
			s.inFlight[j.ImageID] = t
			s.users[j.Source.SHA256]++
		}
	}
	return s, s.Spool.Sweep(func(digest string) bool { return s.users[digest] > 0 })
}

// Run works with so many workers for each stage until the queue is closed and
// the jobs at hand have ended. When giveUp ends first, these go back to the
// queue.
func (s *Service) Run(giveUp context.Context, resolvers, renderers int) error {
	fetching, stop := context.WithCancel(giveUp)
	defer stop()
	go func() {
		select {
		case <-s.Stopping:
			stop()
		case <-fetching.Done():
		}
	}()
	var group errgroup.Group
	for range resolvers {
		group.Go(func() error { return s.work(fetching, s.lease(fetching, queue.Resolve), s.resolve) })
	}
	for i := range renderers {
		lease := s.lease(giveUp, queue.Render)
		switch {
		case s.Throttle == nil:
		case i == 0:
			lease = s.leaseWithRest(giveUp, fetching)
		default:
			lease = s.leaseWhileCool(giveUp, fetching)
		}
		group.Go(func() error { return s.work(giveUp, lease, s.render) })
	}
	return group.Wait()
}

// lease returns what waits for the next job of a stage.
func (s *Service) lease(ctx context.Context, stage queue.Stage) func() (*queue.Lease, error) {
	return func() (*queue.Lease, error) { return s.Queue.Lease(ctx, stage) }
}

// leaseWhileCool returns what waits for the next job to render, and takes none
// while it is too hot. A stop while it is, is the end: the worker that is not
// held back does the rest.
func (s *Service) leaseWhileCool(giveUp, running context.Context) func() (*queue.Lease, error) {
	return func() (*queue.Lease, error) {
		for {
			if err := s.Throttle.Wait(running); err != nil {
				return nil, queue.ErrClosed
			}
			cool, cancel := context.WithCancel(s.Throttle.Cool())
			stop := context.AfterFunc(giveUp, cancel)
			lease, err := s.Queue.Lease(cool, queue.Render)
			hot := errors.Is(err, context.Canceled) && giveUp.Err() == nil
			stop()
			cancel()
			if !hot {
				return lease, err
			}
		}
	}
}

// leaseWithRest returns what waits for the next job to render, for the one worker
// that goes on while it is too hot. It may be the only one that there is, so it
// then rests between two pictures, for as long as the first of them took.
func (s *Service) leaseWithRest(giveUp, running context.Context) func() (*queue.Lease, error) {
	var began time.Time
	return func() (*queue.Lease, error) {
		if !began.IsZero() && s.Throttle.Cool().Err() != nil {
			sleep(running, time.Since(began))
		}
		lease, err := s.Queue.Lease(giveUp, queue.Render)
		began = time.Now()
		return lease, err
	}
}

// turn is held by who asks for a piece of work until its job is durable, so
// that who asks for the same meanwhile joins that job. Others have other keyLocks,
// but for a few by chance.
func (s *Service) lockFor(key string) *sync.Mutex {
	return &s.keyLocks[maphash.String(keySeed, key)%numKeyLocks]
}

const numKeyLocks = 64

var keySeed = maphash.MakeSeed()

// enter puts a job into an index, for forget to take it out; one that has ended
// already may have been forgotten.
func (s *Service) index(tickets map[string]*queue.Ticket, key string, t *queue.Ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.Job().Status.Ended() {
		tickets[key] = t
	}
}

// stage does one stage of a job. more says that the job has gone on to the
// next one and is not the worker's any longer; else it has ended.
type stage func(context.Context, *queue.Lease) (more bool, err error)

// pause is how long a worker leaves a machine alone whose disk is full, or
// that starts no codec.
const pauseTime = 2 * time.Second

func (s *Service) work(giveUp context.Context, next func() (*queue.Lease, error), do stage) error {
	for {
		lease, err := next()
		switch {
		case errors.Is(err, queue.ErrClosed), err != nil && giveUp.Err() != nil:
			return nil
		case err != nil:
			s.Log.Error("cannot lease a job", zap.Error(err))
			sleep(giveUp, pauseTime)
			continue
		}
		if pause := s.do(giveUp, lease, do); pause {
			sleep(giveUp, pauseTime)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// isTemporary reports whether err is the machine's and not the picture's: a full
// disk, or a codec that does not start.
func isTemporary(err error) bool {
	var codecDown *codec.Unavailable
	var end permanent
	if errors.As(err, &end) {
		return false
	}
	return fault.CodeOf(err) == fault.InsufficientStorage || errors.As(err, &codecDown)
}

// permanent is an error of the machine that ends a job all the same.
type permanent struct{ error }

func (n permanent) Unwrap() error { return n.error }

// do works one stage of a job, to its end or back into the queue; pause says
// that the machine was the reason for the latter.
func (s *Service) do(giveUp context.Context, lease *queue.Lease, do stage) (pause bool) {
	more, err := do(giveUp, lease)
	if more {
		return false
	}
	j := lease.Job()
	log := s.Log.With(zap.String("job_id", j.ID), zap.String("image_id", j.ImageID))
	switch {
	case err != nil && giveUp.Err() != nil:
		log.Info("job returned to the queue")
		s.logError(log, lease.Return())
		return false
	case isTemporary(err) && lease.Announced():
		log.Warn("job requeued after a temporary failure", zap.Error(err))
		s.logError(log, lease.Return())
		return true
	}
	lease.OnEnd(queue.Ending{
		Before: s.enqueueWebhooks,
		After:  s.unindex,
	})
	if err == nil {
		err = lease.Complete()
	} else {
		log.Warn("job failed", zap.Error(err))
		err = lease.Fail(fault.From(err))
	}
	s.logError(log, err)
	s.Ended(lease.Job())
	return false
}

func (s *Service) enqueueWebhooks(j job.Job) error {
	if s.Outbox == nil {
		return nil
	}
	return s.Outbox.Put(j)
}

// forget lets go of a job that ends: whoever asks after this finds the set, or
// starts anew. Its source goes and its webhooks may only when the end is on
// record: a crash before that has the job done again.
func (s *Service) unindex(j job.Job, recorded bool) {
	s.mu.Lock()
	remove(s.requests, j.Key(), j)
	remove(s.inFlight, j.ImageID, j)
	s.mu.Unlock()
	if !recorded {
		return
	}
	if j.Resolved() {
		s.release(j.Source.SHA256)
	}
	if s.Outbox != nil {
		s.Outbox.Release(j.ID)
	}
}

// remove takes the job's own ticket out of an index.
func remove(index map[string]*queue.Ticket, key string, j job.Job) {
	if t, ok := index[key]; ok && t.Job().ID == j.ID {
		delete(index, key)
	}
}

// remember keeps a source that killed its codec processes from doing so again.
func (s *Service) addToQuarantine(source job.Source, err error) {
	if fault.CodeOf(err) != fault.ProcessingFailed {
		return
	}
	entry := quarantine.Entry{
		SHA256: source.SHA256, Filename: source.Filename, Bytes: source.Bytes,
		Reason: err.Error(), At: timestamp.At(time.Now()),
	}
	if err := s.Quarantine.Add(entry); err != nil {
		s.Log.Error("cannot quarantine image", zap.Error(err))
	}
}

// render makes the set of a job whose picture is in the spool. Jobs for one
// image at the same time wait for the first of them.
func (s *Service) render(ctx context.Context, lease *queue.Lease) (more bool, err error) {
	_, err, _ = s.rendering.Do(lease.Job().ImageID, func() (any, error) { return nil, s.make(ctx, lease) })
	return false, err
}

func (s *Service) make(ctx context.Context, lease *queue.Lease) error {
	j := lease.Job()
	if err := s.Spool.CheckSpace(0); err != nil {
		return err
	}
	src, err := s.Spool.Source(j.Source.SHA256)
	if err != nil && !s.Maker.Store.Has(j.ImageID) { // published just before a power cut: src is not needed
		return fmt.Errorf("open source: %w", err)
	}
	defer src.Close()
	if err := s.Quarantine.Check(j.Source.SHA256); err != nil { // since the job was accepted
		return err
	}
	_, took, err := s.Maker.Make(ctx, src, j)
	lease.AddTimings(took)
	s.addToQuarantine(j.Source, err)
	return err
}

// use keeps a source in the spool, where it is or is about to be, until unuse.
func (s *Service) retain(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[digest]++
}

// unuse removes a source that no other job needs.
func (s *Service) release(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[digest]--
	if s.users[digest] > 0 {
		return
	}
	delete(s.users, digest)
	if err := s.Spool.Remove(digest); err != nil {
		s.Log.Error("cannot delete source, it stays until the next start", zap.Error(err))
		return
	}
	s.Log.Debug("source deleted", zap.String("source", digest))
}

// check logs an error that the job's client cannot be told: the step is done
// again after the next start.
func (s *Service) logError(log *zap.Logger, err error) {
	if err != nil {
		log.Error("cannot update job record", zap.Error(err))
	}
}
