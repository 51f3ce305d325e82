// Package queue is a durable folder of jobs with bounded admission.
//
// The files are the database: one JSON record a job, whose folder is its
// state. A step is a rename, ls shows the truth, and a restart puts what was
// in work back among the pending.
//
//	pending/  accepted: written and synced before anybody is told
//	running/  in work in this process
//	done/     completed   } kept for a while, for those
//	failed/   for good    } who were promised an answer
//
// A job has up to two stages: Resolve finds the picture that it names, Render
// makes its set. An upload brings its picture, and has only the second. In each
// stage jobs wait in lanes, so that small ones need not wait for all the large
// ones before them; within a lane the first comes first.
//
// A job whose id nobody was told (its client waits on the connection) leaves
// no record behind when it ends. In memory are only the jobs that have not
// ended.
package queue

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/atomicfile"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// Config holds the settings of the queue.
type Config struct {
	Dir        string        // created if missing
	MaxPending int           // jobs waiting and uploads coming in, together
	Keep       time.Duration // how long an ended job can be asked for
	Resolvers  int           // workers of the stage Resolve, for them to be shared out
}

// maxShare is the most of the resolvers that one host may have, and one lane but
// that of single variants: slow ones hold up nobody else.
func (c Config) maxShare() int { return max(1, (c.Resolvers+1)/2) }

// ErrClosed is returned by Lease once the queue hands out no more.
var ErrClosed = errors.New("queue: closed")

const (
	pendingDir = "pending"
	runningDir = "running"
	doneDir    = "done"
	failedDir  = "failed"
)

// Queue is the folder and what of it is in memory. Its methods may be called
// from several goroutines.
type Queue struct {
	config Config
	log    *zap.Logger
	lock   *atomicfile.Lock // held while the queue is open, against a second daemon

	mu       sync.Mutex
	active   map[string]*entry // jobs that have not ended
	lanes    [numLanes]lane
	hosts    map[string]int // jobs that are being resolved, by host
	waiting  int            // jobs in the lanes
	running  int            // leased ones
	reserved int            // places taken for jobs that are not there yet

	unsettled []*Lease // of jobs whose end is not on record
	closed    bool
	wake      [numStages]chan struct{} // capacity 1: something may be waiting, or the queue is closed
}

// entry is a job that has not ended, or whose waiters have not gone.
type entry struct {
	record sync.Mutex // held while the job's file is written; taken before Queue.mu

	job          job.Job
	host         string        // that its input is on
	waitingSince time.Time     // when it began to wait in its line
	announced    bool          // somebody was told its id
	recorded     bool          // it is, or was, on the disk
	ended        chan struct{} // closed when job is final
}

func newEntry(j job.Job, announced bool) *entry {
	e := &entry{job: j, announced: announced, recorded: true, ended: make(chan struct{})}
	if u, err := url.Parse(j.Input); err == nil && u.Host != "" {
		e.host = egress.HostOf(u)
	}
	return e
}

// Open makes the folders, takes the lock and recovers: jobs that were in work
// are pending again.
func Open(config Config, log *zap.Logger) (*Queue, error) {
	for _, state := range []string{pendingDir, runningDir, doneDir, failedDir} {
		if err := os.MkdirAll(filepath.Join(config.Dir, state), 0o750); err != nil {
			return nil, fmt.Errorf("open queue: %w", err)
		}
	}
	lock, err := atomicfile.LockDir(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q := &Queue{config: config, log: log, lock: lock, active: make(map[string]*entry), hosts: make(map[string]int)}
	for stage := range q.wake {
		q.wake[stage] = make(chan struct{}, 1)
	}
	if err := q.recover(); err != nil {
		lock.Close()
		return nil, err
	}
	return q, nil
}

func (q *Queue) path(state, id string) string { return filepath.Join(q.config.Dir, state, id+".json") }

// recover reads the records of an earlier process. Nobody of those who waited
// for them is still there, so all of them count as announced.
func (q *Queue) recover() error {
	if err := q.sweep(); err != nil {
		return err
	}
	running, err := q.unended(runningDir)
	if err != nil {
		return err
	}
	for _, j := range running {
		j.Attempts++ // it was in work when the process ended
		j.Status, j.StartedAt = job.Pending, nil
		if err := os.Rename(q.path(runningDir, j.ID), q.path(pendingDir, j.ID)); err != nil {
			return fmt.Errorf("recover queue: %w", err)
		}
		if err := q.write(pendingDir, j); err != nil { // a full disk must not keep the daemon from starting
			q.log.Warn("cannot record attempt", zap.String("job_id", j.ID), zap.Error(err))
		}
	}
	pending, err := q.unended(pendingDir)
	if err != nil {
		return err
	}
	slices.SortFunc(pending, func(a, b job.Job) int { return strings.Compare(a.ID, b.ID) })
	for _, j := range pending {
		e := newEntry(j, true)
		q.active[j.ID] = e
		q.push(e)
	}
	if n := len(pending); n > 0 {
		q.log.Info("jobs recovered", zap.Int("pending", n), zap.Int("were_running", len(running)))
	}
	return nil
}

// unended reads a folder and removes the records of jobs that have ended: their
// removal did not come before a crash, or a power cut undid the unsynced rename
// from pending to running.
func (q *Queue) unended(state string) ([]job.Job, error) {
	jobs, err := q.read(state)
	if err != nil {
		return nil, err
	}
	var left []job.Job
	for _, j := range jobs {
		if !q.hasEnded(j.ID) {
			left = append(left, j)
			continue
		}
		if err := os.Remove(q.path(state, j.ID)); err != nil {
			return nil, fmt.Errorf("recover queue: %w", err)
		}
	}
	return left, nil
}

func (q *Queue) hasEnded(id string) bool {
	for _, state := range []string{doneDir, failedDir} {
		if _, err := os.Stat(q.path(state, id)); err == nil {
			return true
		}
	}
	return false
}

// sweep removes records that an earlier process had begun to write: nobody was
// told of them.
func (q *Queue) sweep() error {
	for _, state := range []string{pendingDir, runningDir, doneDir, failedDir} {
		if err := atomicfile.Sweep(filepath.Join(q.config.Dir, state), "job_"); err != nil {
			return fmt.Errorf("sweep queue: %w", err)
		}
	}
	return nil
}

// read decodes every record of a folder. One that cannot be read is put aside
// with its name in the log: it must not keep the daemon from starting.
func (q *Queue) read(state string) ([]job.Job, error) {
	entries, err := os.ReadDir(filepath.Join(q.config.Dir, state))
	if err != nil {
		return nil, fmt.Errorf("read queue: %w", err)
	}
	var jobs []job.Job
	for _, e := range entries {
		id, isRecord := strings.CutSuffix(e.Name(), ".json")
		if !isRecord || !job.ValidID(id) {
			continue
		}
		j, err := q.readRecord(state, id)
		if err != nil {
			q.log.Error("unreadable job record set aside", zap.String("job_id", id), zap.Error(err))
			if err := os.Rename(q.path(state, id), q.path(state, id)+".unreadable"); err != nil {
				return nil, fmt.Errorf("read queue: %w", err)
			}
			continue
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

func (q *Queue) readRecord(state, id string) (job.Job, error) {
	b, err := os.ReadFile(q.path(state, id))
	if err != nil {
		return job.Job{}, err
	}
	j, err := job.Decode(b)
	if err == nil && j.ID != id {
		err = fmt.Errorf("record belongs to %s", j.ID)
	}
	return j, err
}

func (q *Queue) write(state string, j job.Job) error {
	b, err := j.Encode()
	if err != nil {
		return err
	}
	return atomicfile.Write(q.path(state, j.ID), b)
}

// Place is the right to put one job, held while its bytes come in. Its owner
// ends with Put or Release; Release after Put does nothing.
type Place struct {
	q    *Queue
	once sync.Once
}

// Reserve takes a place, or fails at once: with QueueFull, or ShuttingDown
// when the queue is closed.
func (q *Queue) Reserve() (*Place, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.check(); err != nil {
		return nil, err
	}
	q.reserved++
	return &Place{q: q}, nil
}

// check reports why there is no place. q.mu is held.
func (q *Queue) check() error {
	switch {
	case q.closed:
		return fault.New(fault.ShuttingDown, "The server is shutting down; try again shortly.")
	case q.waiting+q.reserved >= q.config.MaxPending:
		return fault.New(fault.QueueFull, "The queue is full (%d images waiting); try again later.", q.waiting+q.reserved)
	default:
		return nil
	}
}

// Release gives the place back.
func (p *Place) Release() {
	p.once.Do(func() {
		p.q.mu.Lock()
		p.q.reserved--
		p.q.mu.Unlock()
	})
}

// Put makes the job durable and hands it to the workers. It works on a closed
// queue too: the bytes were let in before, and the next start will do the job.
func (p *Place) Put(j job.Job) (*Ticket, error) {
	q := p.q
	if err := q.write(pendingDir, j); err != nil {
		return nil, err
	}
	return p.put(newEntry(j, j.Promised())), nil
}

// Hold hands a job to the workers that nobody counts on yet: it does not
// survive this process unless its ticket is made to Record it.
func (p *Place) Hold(j job.Job) *Ticket {
	e := newEntry(j, false)
	e.recorded = false
	return p.put(e)
}

func (p *Place) put(e *entry) *Ticket {
	q := p.q
	q.log.Debug("job accepted", zap.String("job_id", e.job.ID)) // here, so that the log has it before what follows
	q.mu.Lock()
	q.active[e.job.ID] = e
	q.push(e)
	q.mu.Unlock()
	p.Release()
	return &Ticket{q, e}
}

// Ticket is one client's hold on a job.
type Ticket struct {
	q *Queue
	e *entry
}

// Wait blocks until the job has ended or ctx has, and returns the job as it
// then stands.
func (t *Ticket) Wait(ctx context.Context) job.Job {
	select {
	case <-t.e.ended:
	case <-ctx.Done():
	}
	return t.Job()
}

// Job is the job as it stands.
func (t *Ticket) Job() job.Job {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.e.job
}

// Announce promises that the job's end will be on record, and returns the job,
// which is on record by now. If it has ended already, that is the last that is
// heard of it here: the caller must not tell its id.
func (t *Ticket) Announce() job.Job {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	t.e.announced = true
	return t.e.job
}

// maxWebhooks is how many receivers one job tells: they take no place in the
// queue, but room in its record and in the outbox.
const maxWebhooks = 16

// Notify adds a receiver that is told of the job's end, durably; ok is false
// when the job has ended already.
func (t *Ticket) Notify(webhook job.Webhook) (ok bool, err error) {
	q, e := t.q, t.e
	e.record.Lock()
	defer e.record.Unlock()
	q.mu.Lock() // until the record is written: no worker moves it meanwhile
	defer q.mu.Unlock()
	if e.job.Status.Ended() {
		return false, nil
	}
	if slices.Contains(e.job.Webhooks, webhook) {
		return true, nil
	}
	if len(e.job.Webhooks) >= maxWebhooks {
		return true, fault.New(fault.QueueFull, "This job already has the maximum of %d webhooks; submit it without webhook_url.", maxWebhooks)
	}
	j := e.job
	j.Webhooks = append(slices.Clip(j.Webhooks), webhook)
	if err := q.rewrite(j); err != nil {
		return true, err
	}
	e.job, e.announced, e.recorded = j, true, true
	return true, nil
}

// Recorded reports whether the job survives this process.
func (t *Ticket) Recorded() bool {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.e.recorded
}

// Record makes a job durable that was only held; its source is so already. One
// that has ended needs no record.
func (t *Ticket) Record() error {
	q, e := t.q, t.e
	e.record.Lock()
	defer e.record.Unlock()
	q.mu.Lock() // until the record is written: no worker moves it meanwhile
	defer q.mu.Unlock()
	if e.recorded || e.job.Status.Ended() {
		return nil
	}
	if err := q.rewrite(e.job); err != nil {
		return err
	}
	e.recorded = true
	return nil
}

// rewrite updates the record of a job that has not ended. On disk a job in
// work stands as the next start is to find it: pending, without this attempt.
func (q *Queue) rewrite(j job.Job) error {
	if j.Status == job.Pending {
		return q.write(pendingDir, j)
	}
	if err := j.Return(); err != nil {
		return err
	}
	j.Attempts--
	return q.write(runningDir, j)
}

// Ticket is a further hold on a job that has not ended; ok is false once it has.
func (q *Queue) Ticket(id string) (t *Ticket, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.active[id]
	return &Ticket{q, e}, ok
}

// Get returns a job by its id, ended or not, or a NotFound fault.
func (q *Queue) Get(id string) (job.Job, error) {
	if !job.ValidID(id) {
		return job.Job{}, errNoJob
	}
	if t, ok := q.Ticket(id); ok {
		return t.Job(), nil
	}
	for _, state := range []string{doneDir, failedDir} {
		j, err := q.readRecord(state, id)
		if !errors.Is(err, os.ErrNotExist) {
			return j, err
		}
	}
	return job.Job{}, errNoJob
}

var errNoJob = fault.New(fault.NotFound, "There is no job with this id; ended jobs are deleted after a while.")

// Active returns the jobs that have not ended, in no order.
func (q *Queue) Active() []job.Job {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs := make([]job.Job, 0, len(q.active))
	for _, e := range q.active {
		jobs = append(jobs, e.job)
	}
	return jobs
}

// Depth is how many jobs wait, and how many are in work.
func (q *Queue) Depth() (pending, running int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.running
}

// Check reports, as a fault, why the queue takes no jobs now, or nil.
func (q *Queue) Check() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.check()
}

// Close lets no more jobs in or out. What is leased can still end or return.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	for stage := range numStages {
		q.signal(stage)
	}
}

// Unlock lets another process open the folder. Nothing may be called after it.
func (q *Queue) Unlock() error { return q.lock.Close() }

// Prune forgets jobs that ended longer ago than the configured time.
func (q *Queue) Prune(now time.Time) error {
	for _, state := range []string{doneDir, failedDir} {
		if err := atomicfile.RemoveOlder(filepath.Join(q.config.Dir, state), now.Add(-q.config.Keep)); err != nil {
			return fmt.Errorf("prune jobs: %w", err)
		}
	}
	return nil
}
