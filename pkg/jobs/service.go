// Package jobs implements the life of a job, with a file for each step: admit.go,
// submit.go, resolve.go, work.go, finish.go. Equal work is done once, however
// many clients request it at the same time.
//
// The package is independent of HTTP and of the engine. It stores and queues
// through the interfaces in ports.go, so that a directory can be replaced by an
// object store, and one machine by several.
package jobs

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Config holds the parts and settings of a Service.
type Config struct {
	Queue      Queue
	Sets       Sets
	Renderer   *render.Renderer
	Spool      *spool.Spool
	Uploads    Uploads // nil if sources that must survive are written to the spool's directory
	Shared     bool    // other machines execute jobs, too: only Uploads makes a source durable
	Fetcher    Fetcher
	Quarantine Quarantine
	Outbox     Outbox                 // nil delivers no webhooks
	Ladder     ladder.Config          // of new jobs; a job keeps the recipe that it was accepted with
	Writes     []ladder.Format        // what the engine can write
	Elsewhere  func() []ladder.Format // what the engines of other machines can write; may be nil
	Keep       time.Duration          // how long ended jobs can be read and retried; 0 is forever
	Stopping   <-chan struct{}        // closed when no more work is accepted; may be nil
	Throttle   Throttle               // reduces rendering while the machine is hot; may be nil
	Ended      func(job.Job)          // called with every job that ended here; may be nil
	Log        *zap.Logger
}

// Service accepts jobs and executes them. It is safe for concurrent use.
type Service struct {
	config  Config
	log     *zap.Logger
	recipe  ladder.Recipe // of uploads
	claims  *claims
	sources *sources

	mu        sync.Mutex
	unsettled []ending // jobs whose end is not recorded yet

	uploads   uploads
	shortages shortages
}

// New indexes the jobs that the queue recovered, and deletes from the spool the
// sources that none of them needs.
func New(c Config) (*Service, error) {
	if c.Ended == nil {
		c.Ended = func(job.Job) {}
	}
	s := &Service{
		config: c, log: c.Log, recipe: c.Ladder.Recipe(), claims: newClaims(),
		sources: &sources{spool: c.Spool, setAside: c.Queue.SetAside, log: c.Log, users: make(map[string]map[string]bool)},
		uploads: uploads{store: c.Uploads, stored: make(map[string]bool)},
	}
	for _, j := range c.Queue.Active() {
		t, ok := c.Queue.Ticket(j.ID)
		if !ok {
			continue
		}
		if j.Input != "" {
			s.claims.index(j.Key(), t)
		}
		if j.Resolved() {
			s.claims.index(imageKey(j.ImageID), t)
			s.sources.retain(j.Source.SHA256, j.ID)
			s.uploads.recover(j)
		}
	}
	return s, errors.Join(c.Spool.Sweep(s.sources.needed), s.DeleteSources())
}

// ErrNoJob is the fault of an unknown job.
var ErrNoJob = fault.New(fault.NotFound, "There is no job with this id; ended jobs are deleted after a while.")

// Get returns a job, or ErrNoJob. An expired one is not returned even if its
// record has not been deleted yet.
func (s *Service) Get(id string) (job.Job, error) {
	j, err := s.config.Queue.Get(id)
	if err == nil && j.Expired(s.config.Keep, time.Now()) {
		return job.Job{}, ErrNoJob
	}
	return j, err
}

// Ticket returns a ticket for a job that has not ended; ok is false otherwise.
func (s *Service) Ticket(id string) (t Ticket, ok bool) { return s.config.Queue.Ticket(id) }

// noOutbox is the Outbox of a job without webhooks.
type noOutbox struct{}

func (noOutbox) Put(job.Job) error { return nil }
func (noOutbox) Release(string)    {}
