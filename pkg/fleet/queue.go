package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// Queue holds the jobs of all nodes. It implements jobs.Queue.
type Queue struct {
	f     *Fleet
	log   *zap.Logger
	onEnd atomic.Pointer[func(job.Job)]
	ready atomic.Pointer[func() error]
	lanes map[string]jetstream.Consumer
	ended *nats.Subscription
	woken *nats.Subscription

	mu        sync.Mutex
	known     map[string]*entry // jobs that this node executes or waits for, and that have not ended
	line      []*entry          // resolved or held here, to be rendered
	running   int               // leased here
	resolving int
	reserved  int  // places reserved for jobs not put yet
	idle      int  // workers that wait for a job to render
	draining  bool // takes no more jobs from the fleet
	closed    bool
	wake      [jobs.NumPhases]chan struct{} // capacity 1: something may be waiting, or the queue is closed

	pruned   atomic.Bool // at least once
	polls    [jobs.NumPhases]poll
	messages messageCount
	counts   counts
}

// Counts are events since the start.
type Counts struct {
	Redelivered int64
	Newer       int64 // messages of jobs whose records have a newer level, left to other nodes
	Unable      int64 // messages of jobs that this node cannot execute, left to other nodes
}

type counts struct{ redelivered, newer, unable atomic.Int64 }

// entry is a job that this node executes, or whose end it waits for.
type entry struct {
	record sync.Mutex // held while the record is written; acquired before Queue.mu

	job      job.Job
	here     bool          // executed or held by this node
	recorded bool          // there is a record
	own      *record       // as this process last stored it; nil if it has not
	msg      jetstream.Msg // nil unless this node has it
	began    time.Time     // of the lease
	ended    chan struct{} // closed when job is final
}

// pollTime is the longest time until a waiting worker pulls messages.
const pollTime = 2 * time.Second

// refreshTime is the polling interval for jobs that other nodes execute.
const refreshTime = 30 * time.Second

// NewQueue returns the queue of the fleet.
func (f *Fleet) NewQueue(ctx context.Context) (*Queue, error) {
	q := &Queue{f: f, log: f.log, known: make(map[string]*entry), lanes: make(map[string]jetstream.Consumer)}
	for phase := range q.wake {
		q.wake[phase] = make(chan struct{}, 1)
	}
	for _, name := range lanes {
		c, err := f.work.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: name, FilterSubject: f.subject + "work." + name + ".>", AckPolicy: jetstream.AckExplicitPolicy,
			AckWait: f.config.Lease, MaxDeliver: -1, MaxAckPending: -1,
		})
		if err != nil {
			return nil, f.explain(err)
		}
		q.lanes[name] = c
	}
	var err error
	q.ended, err = f.nc.Subscribe(f.subject+"ended.*", func(msg *nats.Msg) {
		id := strings.TrimPrefix(msg.Subject, f.subject+"ended.")
		if e := q.waitedFor(id); e != nil {
			go q.refresh(e)
		}
	})
	if err == nil {
		q.woken, err = f.nc.Subscribe(f.subject+"wake", q.wokenBy)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	f.queue.Store(q)
	f.background.Go(q.prolong)
	f.background.Go(q.refreshAll)
	return q, nil
}

// OnEnd sets the callback for jobs that ended on another node. It must be called
// before the first job is put.
func (q *Queue) OnEnd(ended func(job.Job)) { q.onEnd.Store(&ended) }

// Counts returns the counts.
func (q *Queue) Counts() Counts {
	return Counts{q.counts.redelivered.Load(), q.counts.newer.Load(), q.counts.unable.Load()}
}

// messageCount is the number of messages in the work stream when last read, or the
// error of reading it.
type messageCount struct {
	mu  sync.Mutex
	n   int
	err error
	at  time.Time
}

// get returns the count, at most a second old. Concurrent callers share the result
// and its error.
func (c *messageCount) get(read func() (int, error)) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) >= time.Second {
		c.n, c.err = read()
		c.at = time.Now()
	}
	return c.n, c.err
}

// unended returns the number of jobs of the fleet that have not ended, at most a
// second old.
func (q *Queue) unended() (int, error) { return q.messages.get(q.readUnended) }

func (q *Queue) readUnended() (int, error) {
	if err := q.f.Reachable(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(q.f.ctx, operationTime)
	defer cancel()
	var info *jetstream.StreamInfo
	err := insist(ctx, readTime, func(ctx context.Context) (err error) {
		info, err = q.f.work.Info(ctx)
		return err
	})
	if err != nil {
		return 0, unavailable(err)
	}
	return int(info.State.Msgs), nil
}

// Depth returns the number of jobs waiting in the fleet and running on this
// node.
func (q *Queue) Depth() (pending, running int) {
	all, err := q.unended()
	if err != nil {
		all = 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return max(0, all-q.running), q.running
}

// Lanes returns the number of waiting jobs in each lane of the fleet.
func (q *Queue) Lanes() map[string]int {
	waiting := make(map[string]int)
	ctx, cancel := context.WithTimeout(q.f.ctx, operationTime)
	defer cancel()
	for name, c := range q.lanes {
		if info, err := c.Info(ctx); err == nil {
			waiting[name] = int(info.NumPending)
		}
	}
	return waiting
}

// Check returns a fault if the queue accepts no uploads, or nil.
func (q *Queue) Check() error { return q.check(true) }

func (q *Queue) check(upload bool) error {
	n, err := q.unended()
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return fault.Stopping()
	}
	held := q.count(func(e *entry) bool { return !e.recorded })
	return jobs.CheckPlaces(n+held+q.reserved, q.f.config.MaxPending, upload)
}

// Reserve implements jobs.Queue.
func (q *Queue) Reserve(upload bool) (jobs.Place, error) {
	if err := q.check(upload); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reserved++
	return &place{q: q}, nil
}

// place implements jobs.Place.
type place struct {
	q    *Queue
	once sync.Once
}

// Release implements jobs.Place.
func (p *place) Release() {
	p.once.Do(func() {
		p.q.mu.Lock()
		p.q.reserved--
		p.q.mu.Unlock()
	})
}

// MayHold implements jobs.Place: a worker of this node must be free; otherwise the
// job is better published for all nodes.
func (p *place) MayHold() bool {
	p.q.mu.Lock()
	defer p.q.mu.Unlock()
	return p.q.idle > p.q.waiting(jobs.Render) && !p.q.draining
}

// Hold implements jobs.Place.
func (p *place) Hold(j job.Job) jobs.Ticket {
	q := p.q
	q.log.Debug("job accepted", zap.String("job_id", j.ID))
	e := &entry{job: j, here: true, ended: make(chan struct{})}
	q.mu.Lock()
	q.known[j.ID] = e
	q.line = append(q.line, e)
	q.mu.Unlock()
	q.signal(jobs.Render)
	p.Release()
	return &ticket{q, e}
}

// Put implements jobs.Place: claim, record, message.
func (p *place) Put(j job.Job) (jobs.Ticket, error) {
	q := p.q
	claim, other, err := q.claim(j)
	if err != nil {
		return nil, err
	}
	if other != nil {
		p.Release()
		return other, nil
	}
	q.log.Debug("work claimed", zap.String("job_id", j.ID))
	r := record{Level: level, Claim: claim, job: j}
	before, err := q.create(&r)
	if err != nil {
		return nil, err
	}
	q.log.Debug("job recorded", zap.String("job_id", j.ID))
	if err := q.post(j); err != nil {
		if fault.CodeOf(err) != fault.QueueFull || q.undo(r, before) {
			return nil, err
		}
		q.logError("cannot publish a job that was joined; housekeeping will", j.ID, q.post(j))
	}
	q.log.Debug("job accepted", zap.String("job_id", j.ID))
	e := q.watch(j)
	p.Release()
	q.announceWork(lane(j))
	return &ticket{q, e}, nil
}

func (q *Queue) logError(what, jobID string, err error) {
	if err != nil {
		q.log.Warn(what, zap.String("job_id", jobID), zap.Error(err))
	}
}

// create writes the record of a new job, or of one that is retried, and sets its
// revision. before is the record that it replaced.
func (q *Queue) create(r *record) (before *record, err error) {
	if err := q.store(r, 0); !errors.Is(err, errChanged) {
		return nil, err
	}
	there, v, err := q.read(r.job.ID)
	if err != nil {
		return nil, err
	}
	if there != nil && there.job.Retries >= r.job.Retries { // written by an attempt whose response was lost: ids are unique
		r.revision = v.revision
		return nil, nil
	}
	if there != nil {
		if err := q.complete(there.job); err != nil {
			return nil, err
		}
	}
	return there, q.store(r, v.revision)
}

// complete does the remaining steps of the end of a retried job, in case the node that
// recorded the end has not: its webhooks belong to this end. Its message is replaced,
// so that its acknowledgment does not apply to the next one.
func (q *Queue) complete(j job.Job) error {
	ctx, cancel := context.WithTimeout(context.Background(), operationTime)
	defer cancel()
	msg, err := q.f.work.GetLastMsgForSubject(ctx, q.workSubject(j))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // it is acknowledged when all is done
	}
	if err != nil {
		return unavailable(err)
	}
	for target := range j.Webhooks {
		if err := q.f.postWebhook(j, target); err != nil {
			return err
		}
	}
	return deleteMessage(ctx, q.f.work, msg.Sequence)
}

func (q *Queue) workSubject(j job.Job) string { return q.f.subject + "work." + lane(j) + "." + j.ID }

// codeRefused is the error code for a message that the stream of work or webhooks
// refuses: it is full, or already has a message with this subject.
const codeRefused = jetstream.ErrorCode(10077)

// post publishes the message of a job, unless there is one. It returns a QueueFull
// fault if the stream is full.
func (q *Queue) post(j job.Job) error {
	ctx, cancel := context.WithTimeout(context.Background(), operationTime)
	defer cancel()
	subject := q.workSubject(j)
	for {
		_, err := q.f.js.Publish(ctx, subject, []byte(j.ID))
		if !hasCode(err, codeRefused) {
			if err != nil {
				return unavailable(err)
			}
			return nil
		}
		if _, err := q.f.work.GetLastMsgForSubject(ctx, subject); err == nil {
			return nil // it is there
		}
		info, err := q.f.work.Info(ctx)
		if err != nil {
			return unavailable(err)
		}
		if int64(info.State.Msgs) >= info.Config.MaxMsgs {
			return jobs.QueueFull(int(info.State.Msgs))
		}
	}
}

// laneHeader names the lane of the job for which a message wakes workers. Versions
// that do not know it wake all workers.
const laneHeader = "Lane"

// announceWork wakes idle workers of all nodes for a job in this lane, or in any lane
// if it is "".
func (q *Queue) announceWork(lane string) {
	msg := &nats.Msg{Subject: q.f.subject + "wake"}
	if lane != "" {
		msg.Header = nats.Header{laneHeader: {lane}}
	}
	q.publish(msg)
}

// wakeWorkers wakes the idle workers of these processes.
func (q *Queue) wakeWorkers(of []string) {
	q.publish(&nats.Msg{Subject: q.f.subject + "wake", Data: []byte(strings.Join(of, " "))})
}

func (q *Queue) publish(msg *nats.Msg) {
	if err := q.f.nc.PublishMsg(msg); err != nil {
		q.log.Debug("cannot wake workers; they poll", zap.Error(err))
	}
}

// wokenBy handles a message that wakes workers. Its payload lists the processes to
// wake; an empty one means all. Workers that take no jobs of its lane are not woken:
// each woken one pulls from all of its lanes.
func (q *Queue) wokenBy(msg *nats.Msg) {
	if len(msg.Data) > 0 && !slices.Contains(strings.Fields(string(msg.Data)), q.f.instance) {
		return
	}
	lane := msg.Header.Get(laneHeader)
	for phase, weights := range weights {
		if _, ok := weights[lane]; ok || !slices.Contains(lanes, lane) {
			q.signal(jobs.Phase(phase))
		}
	}
}

// read returns the record of a job, nil if there is none.
func (q *Queue) read(id string) (*record, value, error) {
	if !job.ValidID(id) {
		return nil, value{}, nil // only valid ids may become keys of a bucket
	}
	v, err := q.f.jobs.get(id)
	if err != nil || v.data == nil {
		return nil, v, err
	}
	r, err := decodeRecord(id, v.data)
	return &r, v, err
}

// store writes a record that still has this revision. The record of an ended job
// expires.
func (q *Queue) store(r *record, revision uint64) error {
	b, err := r.encode()
	if err != nil {
		return err
	}
	ttl := time.Duration(0)
	if r.job.Status.Ended() {
		ttl = q.f.config.Keep
	}
	if r.revision, err = q.f.jobs.put(r.job.ID, b, revision, ttl); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.known[r.job.ID]; ok {
		e.keep(*r)
	}
	return nil
}

// keep remembers the record of the entry as this process stored it. Queue.mu must
// be held.
func (e *entry) keep(r record) {
	if r.Job = nil; e.own == nil || e.own.revision < r.revision {
		e.own = &r
	}
}

// own returns the record of a job as this process last stored it, or nil.
func (q *Queue) own(id string) *record {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.known[id]
	if !ok || e.own == nil {
		return nil
	}
	r := *e.own
	return &r
}

// update changes the record of a job by compare-and-swap. change returns false to
// leave it as it is. The result is nil if there is no record. If this process
// stored a record last, it is not read first: nearly always it is unchanged, and
// otherwise writing fails.
func (q *Queue) update(id string, change func(*record) bool) (*record, error) {
	if r := q.own(id); r != nil && change(r) {
		if err := q.store(r, r.revision); !errors.Is(err, errChanged) {
			return r, err
		}
	}
	for {
		r, v, err := q.read(id)
		if err != nil || r == nil || r.Level > level || !change(r) {
			return r, err
		}
		if err := q.store(r, v.revision); !errors.Is(err, errChanged) {
			return r, err
		}
	}
}

// Get implements jobs.Queue.
func (q *Queue) Get(id string) (job.Job, error) {
	if !job.ValidID(id) {
		return job.Job{}, jobs.ErrNoJob
	}
	q.mu.Lock()
	if e, ok := q.known[id]; ok && e.here {
		defer q.mu.Unlock()
		return e.job, nil
	}
	q.mu.Unlock()
	r, _, err := q.read(id)
	switch {
	case err != nil:
		return job.Job{}, err
	case r == nil || r.Level > level:
		return job.Job{}, jobs.ErrNoJob
	default:
		return r.job, nil
	}
}

// Active implements jobs.Queue: the jobs that are executed or held by this node.
func (q *Queue) Active() (active []job.Job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.known {
		if e.here {
			active = append(active, e.job)
		}
	}
	return active
}

// Close stops admission and leasing. Leased jobs can still end or return; those that
// wait in this node's line return to the fleet.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	var waiting []*entry
	q.line = slices.DeleteFunc(q.line, func(e *entry) bool {
		if e.recorded {
			waiting = append(waiting, e)
		}
		return e.recorded
	})
	q.running += len(waiting)
	q.mu.Unlock()
	q.signalAll()
	var returns sync.WaitGroup
	for _, e := range waiting { // at once, since each waits while the servers are away
		returns.Go(func() {
			id := (&ticket{q, e}).Job().ID
			q.logError("cannot return job; its message is redelivered after the lease", id, (&lease{q: q, e: e, phase: jobs.Render}).Return())
		})
	}
	returns.Wait()
}

// Unlock disconnects from the fleet. The queue must not be used afterwards.
func (q *Queue) Unlock() error {
	_ = q.ended.Unsubscribe() // the connection is closed next
	_ = q.woken.Unsubscribe()
	return q.f.Close()
}

// SetAside implements jobs.Queue: what a job of the fleet needs is not on one machine.
func (q *Queue) SetAside(string) bool { return false }

// Unended implements jobs.Queue.
func (q *Queue) Unended(jobID string) bool {
	r, _, err := q.read(jobID)
	return err != nil || r != nil && !r.job.Status.Ended()
}

// Prune does the housekeeping of the fleet, on one node and once on each that
// starts: lost job messages are republished, and claims left by killed nodes
// are removed. Ended jobs expire by themselves.
func (q *Queue) Prune(now time.Time) error {
	if again := q.pruned.Swap(true); !q.f.Elected() && again {
		return nil
	}
	var waiting []job.Job
	err := q.f.jobs.each(q.f.ctx, "", func(id string, v value) error {
		if r, err := decodeRecord(id, v.data); err != nil {
			q.log.Error("unreadable job record", zap.String("job_id", id), zap.Error(err))
		} else if r.Level <= level && !r.job.Status.Ended() {
			waiting = append(waiting, r.job)
		}
		return nil
	})
	slices.SortFunc(waiting, func(a, b job.Job) int { return strings.Compare(a.ID, b.ID) })
	errs := []error{err, q.pruneClaims(now)}
	for _, j := range waiting {
		err := q.post(j)
		if errs = append(errs, err); fault.CodeOf(err) == fault.Unavailable {
			break // the others would fail too, and a shutdown waits for this
		}
	}
	q.announceWork("")
	return errors.Join(errs...)
}
