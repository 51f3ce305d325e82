// Package queue is a durable directory of jobs with bounded admission.
//
// The files are the database: one JSON record per job, whose directory is its
// state. A transition is a rename, and a restart moves running jobs back to
// pending.
//
//	pending/  accepted: written and synced before the id is returned
//	running/  started by this process
//	done/     completed   } kept for a while, for clients
//	failed/   failed      } that have the id
//
// A job has up to two phases: Resolve gets the source that it names, Render
// makes its set. An upload comes with its source and has only the second. In
// each phase jobs wait in lanes, so that small ones need not wait for all
// earlier large ones; within a lane the order is FIFO.
//
// A job whose id was not returned (its client waits on the connection) leaves
// no record when it ends. Only jobs that have not ended are in memory.
package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// Config holds the settings of the queue.
type Config struct {
	Dir        string        // created if missing
	MaxPending int           // waiting jobs and uploads in progress, together; a quarter is for uploads alone
	Keep       time.Duration // how long ended jobs are kept
	Resolvers  int           // number of workers of phase Resolve, to be shared fairly
	Dedicated  bool          // workers of phase Background render the jobs in the background
}

// maxShare is the largest number of resolvers for one host, and for one lane
// except single variants: slow ones must not delay the others.
func (c Config) maxShare() int { return max(1, (c.Resolvers+1)/2) }

// The directories of the folder; a record moves from one to the next.
const (
	pendingDir = "pending"
	runningDir = "running"
	doneDir    = "done"
	failedDir  = "failed"
)

// records is one directory of jobs.
type records = durable.Folder[job.Job]

func openRecords(dir string) records {
	return durable.OpenFolder(dir, durable.Format[job.Job]{ValidID: job.ValidID, Encode: encode, Decode: decode})
}

// encode leaves out the id of the request, which is only for the log: version 0.1.0 does
// not read records that have it.
func encode(j job.Job) ([]byte, error) {
	j.RequestID = ""
	return j.Encode()
}

func decode(id string, data []byte) (job.Job, error) {
	j, err := job.Decode(data)
	if err == nil && j.ID != id {
		err = fmt.Errorf("it is the record of %s", j.ID)
	}
	return j, err
}

// Queue is the directory and the jobs that have not ended. It is safe for
// concurrent use.
type Queue struct {
	config Config
	log    *zap.Logger
	lock   *durable.Lock // held while the queue is open, against a second daemon

	pendingJobs, runningJobs, doneJobs, failedJobs records

	aside map[string][]byte // records of unended jobs that cannot be read, by id

	mu       sync.Mutex
	active   map[string]*entry // jobs that have not ended
	lanes    [jobs.NumLanes]lane
	hosts    map[string]int // number of jobs being resolved, by host
	waiting  int            // jobs in the lanes
	running  int            // leased jobs
	reserved int            // places reserved for jobs not put yet

	closed bool
	wake   [jobs.NumPhases]chan struct{} // capacity 1: something may be waiting, or the queue is closed
}

// entry is a job that has not ended, or still has waiting clients.
type entry struct {
	record sync.Mutex // held while the job's file is written; acquired before Queue.mu

	job          job.Job
	host         string        // host of its input
	waitingSince time.Time     // start of the wait in its lane
	announced    bool          // the id was returned to a client
	recorded     bool          // it is, or was, on disk
	canceled     bool          // by Take: it is about to end, so its record must not be written again
	ended        chan struct{} // closed when job is final
}

func newEntry(j job.Job, announced bool) *entry {
	e := &entry{job: j, announced: announced, recorded: true, ended: make(chan struct{})}
	if u, err := url.Parse(j.Input); err == nil && u.Host != "" {
		e.host = egress.HostOf(u)
	}
	return e
}

// ending reports whether the job has ended or is being canceled. Queue.mu must be
// held.
func (e *entry) ending() bool { return e.canceled || e.job.Status.Ended() }

// Open creates the directories, acquires the lock and moves running jobs of
// an earlier process back to pending.
func Open(config Config, log *zap.Logger) (*Queue, error) {
	in := func(state string) records { return openRecords(filepath.Join(config.Dir, state)) }
	q := &Queue{
		config: config, log: log, active: make(map[string]*entry), hosts: make(map[string]int),
		pendingJobs: in(pendingDir), runningJobs: in(runningDir), doneJobs: in(doneDir), failedJobs: in(failedDir),
	}
	for _, folder := range q.folders() {
		if err := folder.Create(); err != nil {
			return nil, fmt.Errorf("open queue: %w", err)
		}
	}
	lock, err := durable.LockDir(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q.lock = lock
	for phase := range q.wake {
		q.wake[phase] = make(chan struct{}, 1)
	}
	if err := q.recover(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return q, nil
}

func (q *Queue) folders() []records {
	return []records{q.pendingJobs, q.runningJobs, q.doneJobs, q.failedJobs}
}

// endedJobs returns the directories of ended jobs.
func (q *Queue) endedJobs() []records { return []records{q.doneJobs, q.failedJobs} }

// recover reads the records of an earlier process. Their clients may know their
// ids, so all of them count as announced.
func (q *Queue) recover() error {
	for _, folder := range q.folders() {
		if err := folder.Sweep(); err != nil {
			return fmt.Errorf("recover queue: %w", err)
		}
	}
	for _, folder := range []records{q.runningJobs, q.pendingJobs} {
		err := folder.TakeBack(func(id string) {
			q.log.Info("job record that was set aside can be read again", zap.String("job_id", id))
		})
		if err != nil {
			return fmt.Errorf("recover queue: %w", err)
		}
	}
	running, err := q.unended(q.runningJobs)
	if err != nil {
		return err
	}
	for _, j := range running {
		j.Attempts++ // it was running when the process ended
		j.Status, j.StartedAt = job.Pending, nil
		if err := q.runningJobs.MoveTo(q.pendingJobs, j.ID); err != nil {
			return fmt.Errorf("recover queue: %w", err)
		}
		if err := q.pendingJobs.Write(j.ID, j); err != nil { // a full disk must not keep the daemon from starting
			q.log.Warn("cannot record attempt", zap.String("job_id", j.ID), zap.Error(err))
		}
	}
	pending, err := q.unended(q.pendingJobs)
	if err != nil {
		return err
	}
	slices.SortFunc(pending, func(a, b job.Job) int { return strings.Compare(a.ID, b.ID) })
	for _, j := range pending {
		e := newEntry(j, true)
		q.active[j.ID] = e
		q.push(e)
	}
	if err := q.readAside(); err != nil {
		return fmt.Errorf("recover queue: %w", err)
	}
	if n := len(pending); n > 0 {
		q.log.Info("jobs recovered", zap.Int("pending", n), zap.Int("were_running", len(running)))
	}
	return nil
}

// readAside reads the records of unended jobs that were set aside.
func (q *Queue) readAside() error {
	q.aside = make(map[string][]byte)
	for _, folder := range []records{q.runningJobs, q.pendingJobs} {
		aside, err := folder.SetAside()
		if err != nil {
			return err
		}
		maps.Copy(q.aside, aside)
	}
	return nil
}

// unended reads a directory and deletes the records of ended jobs: a crash
// preceded their deletion, or a power cut undid the unsynced rename from
// pending to running.
func (q *Queue) unended(folder records) ([]job.Job, error) {
	all, err := folder.Load(func(id string, err error) {
		q.log.Error("unreadable job record set aside", zap.String("job_id", id), zap.Error(err))
	})
	if err != nil {
		return nil, fmt.Errorf("recover queue: %w", err)
	}
	var left []job.Job
	for _, j := range all {
		if !q.hasEnded(j.ID) {
			left = append(left, j)
			continue
		}
		if _, err := folder.Remove(j.ID); err != nil {
			return nil, fmt.Errorf("recover queue: %w", err)
		}
	}
	return left, nil
}

func (q *Queue) hasEnded(id string) bool {
	return slices.ContainsFunc(q.endedJobs(), func(folder records) bool { return folder.Has(id) })
}

// place is a reserved place for one job, held while its source is received. It
// implements jobs.Place.
type place struct {
	q    *Queue
	once sync.Once
}

// Reserve implements jobs.Queue. It does not block: it returns a QueueFull fault, or
// ShuttingDown if the queue is closed.
func (q *Queue) Reserve(upload bool) (jobs.Place, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.check(upload); err != nil {
		return nil, err
	}
	q.reserved++
	return &place{q: q}, nil
}

// check returns why there is no place, or nil. q.mu must be held.
func (q *Queue) check(upload bool) error {
	if q.closed {
		return fault.Stopping()
	}
	return jobs.CheckPlaces(q.waiting+q.reserved, q.config.MaxPending, upload)
}

// Release returns the place.
func (p *place) Release() {
	p.once.Do(func() {
		p.q.mu.Lock()
		p.q.reserved--
		p.q.mu.Unlock()
	})
}

// Put makes the job durable and available to the workers. It also works on a
// closed queue: the job was admitted before, and is executed after the next
// start.
func (p *place) Put(j job.Job) (jobs.Ticket, error) {
	q := p.q
	if err := q.pendingJobs.Write(j.ID, j); err != nil {
		return nil, err
	}
	e := newEntry(j, j.Promised())
	if j.Retries > 0 { // until this is durable, the job counts as ended
		if err := q.unfail(e); err != nil {
			return nil, err
		}
	}
	return p.put(e), nil
}

// unfail removes the failed record of a retried job. Meanwhile the job is found in
// memory.
func (q *Queue) unfail(e *entry) error {
	q.mu.Lock()
	q.active[e.job.ID] = e
	q.mu.Unlock()
	_, err := q.failedJobs.Remove(e.job.ID)
	if err = errors.Join(err, q.failedJobs.Sync()); err != nil {
		q.mu.Lock()
		delete(q.active, e.job.ID)
		q.mu.Unlock()
	}
	return err
}

// MayHold implements jobs.Place.
func (p *place) MayHold() bool { return true }

// Hold makes a job available to the workers without a record: it does not
// survive the process unless its ticket's Record is called.
func (p *place) Hold(j job.Job) jobs.Ticket {
	e := newEntry(j, false)
	e.recorded = false
	return p.put(e)
}

func (p *place) put(e *entry) *ticket {
	q := p.q
	q.log.Debug("job accepted", zap.String("job_id", e.job.ID)) // logged first, before what a worker logs
	q.mu.Lock()
	q.active[e.job.ID] = e
	q.push(e)
	q.mu.Unlock()
	p.Release()
	return &ticket{q, e}
}

// ticket is one client's view of a job. It implements jobs.Ticket.
type ticket struct {
	q *Queue
	e *entry
}

// Wait blocks until the job or ctx has ended, and returns the current state of
// the job.
func (t *ticket) Wait(ctx context.Context) job.Job {
	select {
	case <-t.e.ended:
	case <-ctx.Done():
	}
	return t.Job()
}

// Job returns the current state of the job.
func (t *ticket) Job() job.Job {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.e.job
}

// Announce guarantees that the job's end will be recorded, and returns the job,
// which must be recorded by now. If the job has ended already, no record
// remains and the caller must not return its id.
func (t *ticket) Announce() job.Job {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	if !t.e.job.Status.Ended() {
		t.e.announced = true
	}
	return t.e.job
}

// AddWebhook durably adds a webhook that reports the job's end; ok is false when
// the job has ended already, or is being canceled.
func (t *ticket) AddWebhook(webhook job.Webhook) (ok bool, err error) {
	q, e := t.q, t.e
	e.record.Lock()
	defer e.record.Unlock()
	q.mu.Lock() // until the record is written, so that no worker moves it
	defer q.mu.Unlock()
	if e.ending() {
		return false, nil
	}
	j := e.job
	if added, err := j.AddWebhook(webhook); !added || err != nil {
		return true, err
	}
	if err := q.rewrite(j); err != nil {
		return true, err
	}
	e.job, e.announced, e.recorded = j, true, true
	return true, nil
}

// Recorded reports whether the job survives the process.
func (t *ticket) Recorded() bool {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.e.recorded
}

// Record makes a held job durable; its source must be durable already. It does
// nothing if the job has ended.
func (t *ticket) Record() error {
	q, e := t.q, t.e
	e.record.Lock()
	defer e.record.Unlock()
	q.mu.Lock() // until the record is written, so that no worker moves it
	defer q.mu.Unlock()
	if e.recorded || e.ending() {
		return nil
	}
	if err := q.rewrite(e.job); err != nil {
		return err
	}
	e.recorded = true
	return nil
}

// Raise implements jobs.Ticket.
func (t *ticket) Raise() error {
	q, e := t.q, t.e
	e.record.Lock()
	defer e.record.Unlock()
	q.mu.Lock() // until the record is written, so that no worker moves it
	defer q.mu.Unlock()
	if !e.job.Background || e.ending() {
		return nil
	}
	q.raise(e)
	if !e.recorded {
		return nil
	}
	return q.rewrite(e.job)
}

// rewrite updates the record of an unfinished job. On disk a running job is
// stored as the next start must find it: pending, without this attempt.
func (q *Queue) rewrite(j job.Job) error {
	if j.Status == job.Pending {
		return q.pendingJobs.Write(j.ID, j)
	}
	if err := j.Return(); err != nil {
		return err
	}
	j.Attempts--
	return q.runningJobs.Write(j.ID, j)
}

// Ticket returns a ticket for a job that has not ended; ok is false otherwise.
func (q *Queue) Ticket(id string) (t jobs.Ticket, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.active[id]
	return &ticket{q, e}, ok
}

// Get returns a job, ended or not, or a NotFound fault.
func (q *Queue) Get(id string) (job.Job, error) {
	if !job.ValidID(id) {
		return job.Job{}, jobs.ErrNoJob
	}
	for range 2 { // it may have been retried between the two looks
		if t, ok := q.Ticket(id); ok {
			return t.Job(), nil
		}
		for _, folder := range q.endedJobs() {
			j, err := folder.Read(id)
			if !errors.Is(err, fs.ErrNotExist) {
				return j, err
			}
		}
	}
	return job.Job{}, jobs.ErrNoJob
}

// Active returns the jobs that have not ended, in no particular order.
func (q *Queue) Active() []job.Job {
	q.mu.Lock()
	defer q.mu.Unlock()
	active := make([]job.Job, 0, len(q.active))
	for _, e := range q.active {
		active = append(active, e.job)
	}
	return active
}

// Unended implements jobs.Queue.
func (q *Queue) Unended(jobID string) bool {
	if _, aside := q.aside[jobID]; aside {
		return true
	}
	_, ok := q.Ticket(jobID)
	return ok
}

// SetAside implements jobs.Queue.
func (q *Queue) SetAside(sha256 string) bool {
	for _, record := range q.aside {
		if bytes.Contains(record, []byte(sha256)) {
			return true
		}
	}
	return false
}

// Depth returns the number of waiting and running jobs.
func (q *Queue) Depth() (pending, running int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.running
}

// Check returns a fault if the queue accepts no uploads, or nil.
func (q *Queue) Check() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.check(true)
}

// Close stops admission and leasing. Leased jobs can still end or return.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	for phase := range jobs.NumPhases {
		q.signal(jobs.Phase(phase))
	}
}

// Unlock releases the lock. The queue must not be used afterwards.
func (q *Queue) Unlock() error { return q.lock.Close() }

// Prune deletes jobs that ended longer ago than the configured time.
func (q *Queue) Prune(now time.Time) error {
	for _, folder := range q.endedJobs() {
		if err := folder.Prune(now.Add(-q.config.Keep)); err != nil {
			return fmt.Errorf("prune jobs: %w", err)
		}
	}
	return nil
}
