// Package notify delivers signed webhooks about ended jobs from a durable
// outbox. Deliveries are retried across restarts for up to a day.
//
// The files are the database: one JSON record per webhook, written before the
// job's end is recorded, and deleted when the receiver has accepted it.
//
//	Put       by the worker, before it records the end: durable, but held
//	Release   by the worker, after the end is recorded: due
//	Recover   at startup: held webhooks of ended jobs are due, those of jobs
//	          that will be repeated are deleted
//
// So every end is delivered at least once, and none that a crash undid. A
// crash can cause a duplicate: receivers recognize it by its id, which is
// derived from the job and the same for all attempts.
//
// A webhook that is given up is moved to failed/ with its last error, for the
// operator. The directory has no lock of its own: the queue's lock protects it.
package notify

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// Config holds the settings of the outbox.
type Config struct {
	Dir     string   // created if missing
	Secrets []string // each signs every webhook; without any, webhooks wait
}

// Deps are the dependencies of an Outbox. Its functions may be called
// concurrently.
type Deps struct {
	// Client sends the requests. It must not follow redirects, and it decides
	// which addresses are allowed.
	Client *http.Client
	// Body returns the job's API representation. It is called for each attempt,
	// since signed URLs in it expire.
	Body func(job.Job) (any, error)
	// Permanent reports whether an error of Client makes further attempts
	// pointless.
	Permanent func(error) bool
	Log       *zap.Logger
}

// Folder is the name of the outbox within storage.dir.
const Folder = "outbox"

const failedDir = "failed"

// Outbox is the directory of webhooks and their schedule. It is safe for
// concurrent use.
type Outbox struct {
	log     *zap.Logger
	entries durable.Folder[entry] // to be delivered
	givenUp durable.Folder[entry]
	sender  *Sender
	moving  sync.Mutex // held while an entry is moved to failed/ or back; acquired before mu

	mu       sync.Mutex
	held     map[string][]*item // by job, until Release
	due      schedule
	lastSeq  int              // number of scheduled items so far
	hosts    map[string]*host // hosts with deliveries in flight
	inFlight int
	counts   Stats
	wake     chan struct{} // capacity 1: there may be something to do
}

// Stats counts webhooks since startup, except Pending.
type Stats struct {
	Pending   int // in the outbox
	Delivered int
	Failed    int // failed attempts, most of which are retried
	GivenUp   int
}

// Open creates the directories and loads the webhooks of an earlier process.
// All of them are held: call Recover before the first Put.
func Open(config Config, deps Deps) (*Outbox, error) {
	sender, err := NewSender(config.Secrets, deps)
	if err != nil {
		return nil, err
	}
	o := &Outbox{
		log: deps.Log, sender: sender,
		entries: folder(config.Dir), givenUp: folder(filepath.Join(config.Dir, failedDir)),
		held: make(map[string][]*item), hosts: make(map[string]*host), wake: make(chan struct{}, 1),
	}
	for _, folder := range []durable.Folder[entry]{o.entries, o.givenUp} {
		if err := folder.Create(); err != nil {
			return nil, fmt.Errorf("open outbox: %w", err)
		}
		if err := folder.Sweep(); err != nil {
			return nil, fmt.Errorf("open outbox: %w", err)
		}
	}
	if err := o.load(); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return o, nil
}

// load loads every entry, as held. An unreadable one is renamed and logged: it
// must not prevent startup. One that can be read again is taken back.
func (o *Outbox) load() error {
	err := o.entries.TakeBack(func(id string) {
		o.log.Info("webhook that was set aside can be read again", zap.String("webhook_id", id))
	})
	if err != nil {
		return err
	}
	entries, err := o.entries.Load(func(id string, err error) {
		o.log.Error("unreadable webhook set aside", zap.String("webhook_id", id), zap.Error(err))
	})
	if err != nil {
		return err
	}
	now := time.Now()
	for _, e := range entries {
		o.held[e.job.ID] = append(o.held[e.job.ID], e.item(now))
	}
	return nil
}

// Recover makes the entries of ended jobs due and deletes the others: their jobs
// will be repeated and store them again. ended reports whether a job has ended
// after this number of retries; it may have been retried since.
func (o *Outbox) Recover(ended func(jobID string, retries int) bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	dropped := 0
	for jobID, items := range o.held {
		delete(o.held, jobID)
		for _, it := range items {
			if ended(jobID, it.retries) {
				o.add([]*item{it})
				continue
			}
			if _, err := o.entries.Remove(it.id); err != nil {
				return fmt.Errorf("recover outbox: %w", err)
			}
			dropped++
		}
	}
	if len(o.due)+dropped > 0 {
		o.log.Info("webhooks recovered", zap.Int("pending", len(o.due)), zap.Int("dropped", dropped))
	}
	return nil
}

// Put makes the webhooks of an ended job durable, before the job's end is
// recorded. They are held until Release. Putting a job again replaces its
// webhooks.
func (o *Outbox) Put(j job.Job) error {
	if len(j.Webhooks) == 0 {
		return nil
	}
	if !job.ValidID(j.ID) || !j.Status.Ended() || j.FinishedAt == nil {
		return fmt.Errorf("put webhooks of %.40q: not an ended job", j.ID)
	}
	var items []*item
	var errs []error
	for target := range j.Webhooks {
		now := time.Now()
		e := newEntry(j, target, now)
		if err := o.entries.Write(e.ID, e); err != nil {
			errs = append(errs, err)
			continue
		}
		items = append(items, e.item(now))
		o.log.Debug("webhook stored", e.fields()...)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held[j.ID] = items
	return errors.Join(errs...)
}

// Release makes the webhooks of a job due, after its end was recorded.
func (o *Outbox) Release(jobID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(o.held[jobID])
	delete(o.held, jobID)
}

// Stats returns the counts.
func (o *Outbox) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	stats := o.counts
	stats.Pending = o.len()
	return stats
}

// len returns the number of webhooks in the outbox. o.mu must be held.
func (o *Outbox) len() int {
	n := len(o.due) + o.inFlight
	for _, h := range o.hosts {
		n += len(h.waiting)
	}
	for _, items := range o.held {
		n += len(items)
	}
	return n
}

// Count counts the pending and given-up webhooks of an outbox without opening
// it.
func Count(dir string) (pending, givenUp int, err error) {
	waiting, err := folder(dir).IDs()
	if err != nil {
		return 0, 0, fmt.Errorf("count webhooks: %w", err)
	}
	failed, err := folder(filepath.Join(dir, failedDir)).IDs()
	if err != nil {
		return 0, 0, fmt.Errorf("count webhooks: %w", err)
	}
	return len(waiting), len(failed), nil
}

// Prune deletes webhooks that were given up more than keep ago.
func (o *Outbox) Prune(now time.Time, keep time.Duration) error {
	if err := o.givenUp.Prune(now.Add(-keep)); err != nil {
		return fmt.Errorf("prune webhooks: %w", err)
	}
	return nil
}

// giveUp moves an entry to failed/. This is not atomic: after a crash in
// between, the webhook is attempted once more and given up again.
func (o *Outbox) giveUp(e entry) error {
	o.moving.Lock()
	defer o.moving.Unlock()
	if err := o.givenUp.Write(e.ID, e); err != nil {
		return err
	}
	log := o.log.With(e.fields()...)
	log.Debug("webhook failure recorded")
	if _, err := o.entries.Remove(e.ID); err != nil {
		return err
	}
	log.Debug("webhook ended")
	return nil
}
