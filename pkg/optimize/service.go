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

// Deps are the dependencies of a Service.
type Deps struct {
	Maker      *Maker
	Queue      *queue.Queue
	Spool      *intake.Spool
	Fetcher    Fetcher
	Quarantine *quarantine.Store
	Outbox     Outbox          // may be nil if no job has webhooks
	Ladder     ladder.Config   // for new jobs; a job keeps the recipe it was accepted with
	Writes     []ladder.Format // formats the engine can write
	Log        *zap.Logger
	Ended      func(job.Job)   // called for every job that ended; may be nil
	Stopping   <-chan struct{} // closed when nothing more may be fetched; may be nil
	Throttle   Throttle        // may be nil
}

// Throttle reduces the work while the machine is too hot.
type Throttle interface {
	// Cool returns a context that ends when the machine becomes too hot, and has
	// ended while it is.
	Cool() context.Context
	// Wait blocks while the machine is too hot. It returns ctx's error if ctx
	// ends.
	Wait(ctx context.Context) error
}

// Fetcher downloads a URL into the spool.
type Fetcher interface {
	Fetch(ctx context.Context, url string) (*intake.Upload, error)
}

// Outbox stores webhooks of ended jobs.
type Outbox interface {
	// Put makes the job's webhooks durable, before the job's end is recorded.
	Put(job.Job) error
	// Release allows delivery, after the job's end was recorded.
	Release(jobID string)
}

// Service executes the queue's jobs and renders each image once.
type Service struct {
	Deps
	recipe    ladder.Recipe // of uploads
	rendering singleflight.Group
	keyLocks  [numKeyLocks]sync.Mutex

	// mu must not be held during a sync: every end of a job needs it, and a disk
	// syncs several files at once nearly as fast as one.
	mu       sync.Mutex
	inFlight map[string]*queue.Ticket // by image id; one of them if several jobs make the same image
	requests map[string]*queue.Ticket // by job.Key
	users    map[string]int           // references to sources in the spool, by digest
}

// New takes over the jobs that the queue recovered, and deletes sources from
// the spool that none of them needs.
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

// Run runs the given numbers of workers for each stage until the queue is
// closed and running jobs have ended. If giveUp ends first, they return to the
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

// lease returns a function that waits for the next job of a stage.
func (s *Service) lease(ctx context.Context, stage queue.Stage) func() (*queue.Lease, error) {
	return func() (*queue.Lease, error) { return s.Queue.Lease(ctx, stage) }
}

// leaseWhileCool returns a function that waits for the next job to render, but
// not while the machine is too hot. When the daemon stops while it is too hot,
// the worker ends: the one that is never throttled does the rest.
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

// leaseWithRest returns the lease function of the one worker that continues
// while the machine is too hot. As it may be the only one, it then pauses after
// each image for as long as the image took.
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

// lockFor returns the striped lock of a work key. It is held from the lookup
// until the job is durable, so that an equal request joins the job. Different
// keys may share a lock.
func (s *Service) lockFor(key string) *sync.Mutex {
	return &s.keyLocks[maphash.String(keySeed, key)%numKeyLocks]
}

const numKeyLocks = 64

var keySeed = maphash.MakeSeed()

// index adds a job to an index, from which unindex deletes it, unless the job
// has ended and may have been unindexed already.
func (s *Service) index(tickets map[string]*queue.Ticket, key string, t *queue.Ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.Job().Status.Ended() {
		tickets[key] = t
	}
}

// stage executes one stage of a job. more reports that the job advanced to the
// next stage and no longer belongs to the worker; otherwise it has ended.
type stage func(context.Context, *queue.Lease) (more bool, err error)

// pauseTime is how long a worker pauses when the disk is full or no codec
// starts.
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

// isTemporary reports whether err is caused by the machine rather than the
// image: a full disk, or a codec that does not start.
func isTemporary(err error) bool {
	var codecDown *codec.Unavailable
	var end permanent
	if errors.As(err, &end) {
		return false
	}
	return fault.CodeOf(err) == fault.InsufficientStorage || errors.As(err, &codecDown)
}

// permanent marks an error of the machine that ends a job anyway.
type permanent struct{ error }

func (n permanent) Unwrap() error { return n.error }

// do executes one stage of a job, and ends the job or returns it to the queue.
// pause reports that it was returned because of the machine.
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

// unindex deletes an ending job from the indexes: later requests find the set
// or start a new job. Its source is released and its webhooks are sent only
// once the end is recorded: after an earlier crash the job is repeated.
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

// remove deletes the job's own ticket from an index.
func remove(index map[string]*queue.Ticket, key string, j job.Job) {
	if t, ok := index[key]; ok && t.Job().ID == j.ID {
		delete(index, key)
	}
}

// addToQuarantine quarantines a source that crashed the codec twice.
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

// render makes the set of a job whose source is in the spool. Concurrent jobs
// for the same image wait for the first of them.
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
	if err := s.Quarantine.Check(j.Source.SHA256); err != nil { // may have been added since the job was accepted
		return err
	}
	_, took, err := s.Maker.Make(ctx, src, j)
	lease.AddTimings(took)
	s.addToQuarantine(j.Source, err)
	return err
}

// retain keeps a source in the spool, where it is or is about to be, until
// release.
func (s *Service) retain(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[digest]++
}

// release deletes a source that no other job needs.
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

// logError logs an error that cannot be reported to the job's client: the step
// is repeated after the next start.
func (s *Service) logError(log *zap.Logger, err error) {
	if err != nil {
		log.Error("cannot update job record", zap.Error(err))
	}
}
