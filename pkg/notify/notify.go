// Package notify tells receivers that a job has ended: signed webhooks from a
// durable outbox, tried again over restarts for up to a day.
//
// The files are the database: one JSON record a webhook, written before the
// job's end is on record and removed when the receiver has said yes.
//
//	Put       the worker, before it records the end: durable, and held
//	Release   the worker, once the end is on record: due
//	Recover   at the start: what an earlier process held is due if its job has
//	          ended, and dropped if the job will be done again
//
// So no ended job goes untold, and nobody is told of an end that a crash
// undid. What a crash can do is have a receiver told twice: it knows by the
// id, which follows from the job and is the same over all tries.
//
// A webhook that is given up lies in failed/ with its last error, for the
// operator. The folder has no lock: it belongs to whoever has the queue's.
package notify

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/atomicfile"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// Config holds the settings of the outbox.
type Config struct {
	Dir     string   // created if missing
	Secrets []string // each signs every webhook; with none, webhooks wait
}

// Deps are what an Outbox works with. Its functions are called from several
// goroutines.
type Deps struct {
	// Client makes the requests. It must not follow redirects, and it decides
	// which addresses may be reached.
	Client *http.Client
	// Body is the job as the API shows it. It is asked at every try, since a
	// signed URL in it expires.
	Body func(job.Job) (any, error)
	// Permanent reports whether an error of Client will be the same at every
	// further try, so that none is made.
	Permanent func(error) bool
	Log       *zap.Logger
}

// Folder is the name of the outbox within storage.dir.
const Folder = "outbox"

const failedDir = "failed"

// Outbox is the folder and what of it is in memory. Its methods may be called
// from several goroutines.
type Outbox struct {
	Deps
	dir     string
	signers signers

	mu       sync.Mutex
	held     map[string][]*item // by job: until Release
	due      schedule
	lastSeq  int              // given to items so far
	hosts    map[string]*host // those with a delivery in flight
	inFlight int
	counts   Stats
	wake     chan struct{} // capacity 1: there may be something to do
}

// Stats are counts since the start, but for Pending.
type Stats struct {
	Pending   int // in the outbox
	Delivered int
	Failed    int // tries, of which most are made again
	GivenUp   int
}

// Open makes the folders and reads what an earlier process left. All of it is
// held: call Recover before the first Put.
func Open(config Config, deps Deps) (*Outbox, error) {
	signers, err := newSigners(config.Secrets)
	if err != nil {
		return nil, err
	}
	o := &Outbox{
		Deps: deps, dir: config.Dir, signers: signers,
		held: make(map[string][]*item), hosts: make(map[string]*host), wake: make(chan struct{}, 1),
	}
	if err := os.MkdirAll(filepath.Join(o.dir, failedDir), 0o750); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	for _, dir := range []string{o.dir, filepath.Join(o.dir, failedDir)} {
		if err := atomicfile.Sweep(dir, ""); err != nil {
			return nil, fmt.Errorf("open outbox: %w", err)
		}
	}
	if err := o.load(); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return o, nil
}

// load holds every entry. One that cannot be read is put aside with its name
// in the log: it must not keep the daemon from starting.
func (o *Outbox) load() error {
	files, err := os.ReadDir(o.dir)
	if err != nil {
		return err
	}
	// A Pi's clock stands still while it is off, so right after a start a time on
	// record may seem to be months ahead. It must not hold a webhook back so long.
	latest := time.Now().Add(maxWait)
	for _, f := range files {
		id, isEntry := strings.CutSuffix(f.Name(), suffix)
		if !isEntry {
			continue
		}
		e, err := o.read(id)
		if err != nil {
			o.Log.Error("unreadable webhook set aside", zap.String("webhook_id", id), zap.Error(err))
			if err := os.Rename(o.path(id), o.path(id)+".unreadable"); err != nil {
				return err
			}
			continue
		}
		it := e.item()
		if it.next.After(latest) {
			it.next = latest
		}
		o.held[e.job.ID] = append(o.held[e.job.ID], it)
	}
	return nil
}

// Recover makes the entries of ended jobs due. The others are dropped: their
// jobs will be done again, and put them anew.
func (o *Outbox) Recover(ended func(jobID string) bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	dropped := 0
	for jobID, items := range o.held {
		delete(o.held, jobID)
		if ended(jobID) {
			o.add(items)
			continue
		}
		for _, it := range items {
			if err := os.Remove(o.path(it.id)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("recover outbox: %w", err)
			}
			dropped++
		}
	}
	if len(o.due)+dropped > 0 {
		o.Log.Info("webhooks recovered", zap.Int("pending", len(o.due)), zap.Int("dropped", dropped))
	}
	return nil
}

// Put makes durable that the job's webhooks are to be told of its end, which j
// has already, but which is not on record yet. They are held until Release. To
// put a job again replaces what it put before.
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
		e := newEntry(j, target, time.Now())
		if err := o.write(e); err != nil {
			errs = append(errs, err)
			continue
		}
		items = append(items, e.item())
		o.Log.Debug("webhook stored", e.fields()...)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held[j.ID] = items
	return errors.Join(errs...)
}

// Release makes the webhooks of a job due, whose end is on record now.
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

// len is how many webhooks are in the outbox. o.mu is held.
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

// Count looks into an outbox without opening it: how many webhooks wait, and
// how many were given up.
func Count(dir string) (pending, givenUp int, err error) {
	if pending, err = count(dir); err == nil {
		givenUp, err = count(filepath.Join(dir, failedDir))
	}
	return pending, givenUp, err
}

func count(dir string) (n int, err error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("read outbox: %w", err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), suffix) {
			n++
		}
	}
	return n, nil
}

// Prune forgets webhooks that were given up longer ago than keep.
func (o *Outbox) Prune(now time.Time, keep time.Duration) error {
	if err := atomicfile.RemoveOlder(filepath.Join(o.dir, failedDir), now.Add(-keep)); err != nil {
		return fmt.Errorf("prune webhooks: %w", err)
	}
	return nil
}

// giveUp moves an entry to failed/. The two steps are not one: after a crash
// between them the webhook is tried once more, and given up again.
func (o *Outbox) giveUp(e entry) error {
	b, err := e.encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(o.dir, failedDir, e.ID+suffix), b); err != nil {
		return err
	}
	log := o.Log.With(e.fields()...)
	log.Debug("webhook failure recorded")
	if err := os.Remove(o.path(e.ID)); err != nil {
		return err
	}
	log.Debug("webhook ended")
	return nil
}
