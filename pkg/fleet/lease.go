package fleet

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// aheadOfRender limits how many jobs a node resolves before it renders them.
const aheadOfRender = 4

// passTime is the time until a message that a node could not take is delivered
// again.
const passTime = 2 * time.Second

// poll is the state of fetching messages of one phase, by one worker at a time.
type poll struct {
	sync.Mutex
	turns turns
}

// local is the lane of this node's own line.
const local = ""

// weights are the shares of the lanes while all of them have jobs.
var weights = [jobs.NumPhases]map[string]int{
	jobs.Resolve:    {laneSingles: 4, laneLadders: 1, laneBackground: 0},
	jobs.Render:     {local: 4, laneUploads: 2},
	jobs.Background: {local: 1},
}

// turns is smooth weighted round robin among lanes. Whether a lane has a job is only
// known by fetching one.
type turns map[string]int

// next offers the lanes by their credit, those without weight last, until take
// returns true. Empty lanes do not accumulate credit: the lane that has a job
// gets it.
func (t *turns) next(weights map[string]int, take func(lane string) bool) bool {
	if *t == nil {
		*t = make(turns)
	}
	var order []string
	spare := 0 // credit of empty lanes, less the cost of this turn
	for name, weight := range weights {
		(*t)[name] += weight
		spare -= weight
		order = append(order, name)
	}
	slices.SortFunc(order, func(a, b string) int {
		return cmp.Or(min(weights[b], 1)-min(weights[a], 1), (*t)[b]-(*t)[a])
	})
	for _, name := range order {
		if take(name) {
			(*t)[name] += spare
			return true
		}
		spare += (*t)[name]
		(*t)[name] = 0
	}
	return false
}

// lease implements jobs.Lease.
type lease struct {
	q     *Queue
	e     *entry
	phase jobs.Phase
	ended job.Job // set at the end
}

// Lease implements jobs.Queue.
func (q *Queue) Lease(ctx context.Context, phase jobs.Phase) (jobs.Lease, error) {
	for ctx.Err() == nil {
		e, err := q.tryLease(phase)
		if err != nil {
			return nil, err
		}
		if e != nil {
			return &lease{q: q, e: e, phase: phase}, nil
		}
		q.wait(ctx, phase)
	}
	q.signal(phase) // pass on a signal that may have been for another worker
	return nil, ctx.Err()
}

func (q *Queue) wait(ctx context.Context, phase jobs.Phase) {
	if phase == jobs.Render {
		q.addIdle(1)
		defer q.addIdle(-1)
	}
	timer := time.NewTimer(pollTime)
	defer timer.Stop()
	select {
	case <-q.wake[phase]:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (q *Queue) addIdle(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idle += n
}

func (q *Queue) signal(phase jobs.Phase) {
	select {
	case q.wake[phase] <- struct{}{}:
	default:
	}
}

func (q *Queue) signalAll() {
	for phase := range jobs.NumPhases {
		q.signal(jobs.Phase(phase))
	}
}

// tryLease returns nil, nil if no job is ready.
func (q *Queue) tryLease(phase jobs.Phase) (e *entry, err error) {
	p := &q.polls[phase]
	p.Lock() // held from before the counts are read, since they allow for one job
	defer p.Unlock()
	q.mu.Lock()
	closed := q.closed
	full := phase == jobs.Resolve && q.waiting(jobs.Render)+q.resolving >= aheadOfRender
	dedicatedFull := q.waiting(jobs.Background) >= aheadOfRender
	q.mu.Unlock()
	if closed {
		q.signal(phase) // for the next worker
		return nil, jobs.ErrQueueClosed
	}
	if full {
		return nil, nil
	}
	p.turns.next(weights[phase], func(lane string) bool {
		switch {
		case lane == local:
			e = q.pop(phase)
		case lane != laneBackground || !dedicatedFull:
			e = q.fetch(lane)
		}
		return e != nil
	})
	if e == nil {
		return nil, nil
	}
	q.mu.Lock()
	q.running++
	if phase == jobs.Resolve {
		q.resolving++
	}
	q.mu.Unlock()
	q.signal(phase) // there may be another job
	return e, nil
}

// phase returns the phase that a job in this node's line waits for.
func (q *Queue) phase(e *entry) jobs.Phase {
	if e.job.Background && q.f.config.Dedicated {
		return jobs.Background
	}
	return jobs.Render
}

// waiting returns the number of jobs in this node's line that wait for a phase. q.mu
// must be held.
func (q *Queue) waiting(phase jobs.Phase) (n int) {
	for _, e := range q.line {
		if q.phase(e) == phase {
			n++
		}
	}
	return n
}

// pop takes the next job of a phase from this node's line. In the background it takes
// one only while no other job waits there.
func (q *Queue) pop(phase jobs.Phase) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.line, func(e *entry) bool { return q.phase(e) == phase })
	if i < 0 || phase == jobs.Background && q.waiting(jobs.Render) > 0 {
		return nil
	}
	e := q.line[i]
	q.line = slices.Delete(q.line, i, i+1)
	q.signal(jobs.Background) // this may have been what it waited for
	if e.job.Status == job.Pending {
		if err := e.job.Start(time.Now()); err != nil {
			panic(err) // it was pending
		}
		e.job.AddTimings(ladder.Timings{ladder.StageQueue: time.Since(e.job.CreatedAt.Time)})
		e.began = time.Now()
	}
	return e
}

// fetch returns the next job of a lane that this node can execute, or nil.
func (q *Queue) fetch(lane string) *entry {
	if !q.mayTake() {
		return nil
	}
	for range 16 { // then it is another lane's turn
		batch, err := q.lanes[lane].FetchNoWait(1)
		if err != nil {
			q.log.Debug("cannot fetch a job", zap.Error(err))
			return nil
		}
		msg, ok := <-batch.Messages()
		if !ok {
			return nil
		}
		if e := q.take(msg); e != nil {
			return e
		}
	}
	q.signalAll() // there may be more jobs that this node can execute
	return nil
}

// take starts the job of a message. It returns nil if there is nothing to do here.
func (q *Queue) take(msg jetstream.Msg) *entry {
	if meta, err := msg.Metadata(); err == nil && meta.NumDelivered > 1 {
		q.counts.redelivered.Add(1)
	}
	id := string(msg.Data())
	if !job.ValidID(id) {
		_ = msg.TermWithReason("not a job")
		return nil
	}
	if q.attach(id, msg) {
		return nil
	}
	r, v, err := q.read(id)
	switch {
	case err != nil:
		q.log.Error("cannot read job", zap.String("job_id", id), zap.Error(err))
		q.pass(msg)
		return nil
	case r == nil: // refused, or it has expired
		_ = msg.Ack() // otherwise it is delivered again
		return nil
	case r.Level > level:
		q.counts.newer.Add(1)
		q.pass(msg)
		return nil
	case r.job.Status.Ended():
		q.logError("cannot finish an ended job; its message is redelivered", id, q.tidy(r.job, r.Claim, msg))
		return nil
	case r.Holder != "" && r.Holder != q.f.instance: // this process has lost it, if attach does not know it
		if alive, err := q.f.alive(r.Holder); alive || err != nil {
			q.pass(msg)
			return nil
		}
	case q.exhausted(r):
		q.fail(r.job, msg, fault.New(fault.ProcessingFailed, "The image could not be processed: %d attempts ended without a result.", maxStarts))
		return nil
	}
	if q.unable(r, msg) {
		return nil
	}
	return q.start(r, v.revision, msg)
}

// exhausted reports whether a job has used up its starts. The last start does not
// count if this process did not learn that it had succeeded.
func (q *Queue) exhausted(r *record) bool {
	return r.Starts >= maxStarts && r.Process != q.f.instance
}

// pass leaves a message to another attempt, by any node.
func (q *Queue) pass(msg jetstream.Msg) { _ = msg.NakWithDelay(passTime) } // otherwise it is delivered after the lease

// attach adds the message to a job that this node is already executing. It returns
// false if there is no such job.
func (q *Queue) attach(id string, msg jetstream.Msg) bool {
	q.mu.Lock()
	e, ok := q.known[id]
	if !ok || !e.here {
		q.mu.Unlock()
		return false
	}
	e.msg = msg
	j := e.job
	q.mu.Unlock()
	if j.Status.Ended() { // its end could not be recorded
		goesOn, err := q.finishOwn(j, msg)
		if goesOn != nil {
			q.pass(msg) // Record drops the job here
		}
		q.logError("cannot record the end of a job; its message is redelivered", id, err)
	}
	return true
}

// start records one more start, and makes the job this node's.
func (q *Queue) start(r *record, revision uint64, msg jetstream.Msg) *entry {
	j := &r.job
	if j.Status == job.Processing { // by a node that died
		j.Status, j.StartedAt = job.Pending, nil
	}
	waited := time.Since(j.CreatedAt.Time)
	if err := j.Start(time.Now()); err != nil {
		q.pass(msg)
		return nil
	}
	if r.Process != q.f.instance { // otherwise it has not begun: attach does not know it
		r.Starts++
	}
	r.Node, r.Process, r.Holder = q.f.node, q.f.instance, ""
	if err := q.store(r, revision); err != nil {
		if !errors.Is(err, errChanged) {
			q.log.Error("cannot start job", zap.String("job_id", j.ID), zap.Error(err))
		}
		q.pass(msg)
		return nil
	}
	q.log.Debug("job started", zap.String("job_id", j.ID))
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.watchLocked(*j)
	e.keep(*r)
	e.job, e.here, e.msg, e.began = *j, true, msg, time.Now()
	e.job.AddTimings(ladder.Timings{ladder.StageQueue: waited})
	return e
}

// prolong extends the leases of this node's jobs, each for at most LongestJob, until
// Close.
func (q *Queue) prolong() {
	ticker := time.NewTicker(q.f.config.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-q.f.ctx.Done():
			return
		}
		q.mu.Lock()
		for _, e := range q.known {
			if e.here && e.msg != nil && !e.job.Status.Ended() && time.Since(e.began) < q.f.config.LongestJob {
				_ = e.msg.InProgress() // otherwise the job is executed twice, with one effect
			}
		}
		q.mu.Unlock()
	}
}

// Job implements jobs.Lease.
func (l *lease) Job() job.Job { return (&ticket{l.q, l.e}).Job() }

// Announced implements jobs.Lease.
func (l *lease) Announced() bool { return (&ticket{l.q, l.e}).Recorded() }

// SetSource implements jobs.Lease. The source is not added to the record: another
// node would not have it.
func (l *lease) SetSource(source job.Source, imageID string) error {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.e.job.Resolve(source, imageID)
}

// AddTimings implements jobs.Lease.
func (l *lease) AddTimings(t ladder.Timings) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	l.e.job.AddTimings(t)
}

// release ends the lease. q.mu must be held.
func (l *lease) release() {
	l.q.running--
	if l.phase == jobs.Resolve {
		l.q.resolving--
		l.q.signal(jobs.Resolve)
	}
}

// Advance implements jobs.Lease: the job waits in this node's local queue, and its
// message stays with this node, unless the queue is closed.
func (l *lease) Advance() error {
	l.q.mu.Lock()
	if l.q.closed {
		l.q.mu.Unlock()
		return l.Return()
	}
	l.release()
	l.q.line = append(l.q.line, l.e)
	next := l.q.phase(l.e)
	l.q.mu.Unlock()
	l.q.log.Debug("job resolved", zap.String("job_id", l.Job().ID))
	l.q.signal(next)
	return nil
}

// Return implements jobs.Lease: any node may take the job.
func (l *lease) Return() error {
	q, e := l.q, l.e
	e.record.Lock()
	defer e.record.Unlock()
	if !(&ticket{q, e}).Recorded() {
		return l.returnHeld()
	}
	msg, err := l.returnJob(func(*record) {})
	if msg != nil {
		_ = msg.Nak() // otherwise it is delivered after the lease
	}
	q.announceWork(lane(l.Job()))
	return err
}

// returnHeld returns a job without a record to this node's line.
func (l *lease) returnHeld() error {
	q, e := l.q, l.e
	q.mu.Lock()
	defer q.mu.Unlock()
	l.release()
	err := e.job.Return()
	q.line = slices.Insert(q.line, 0, e)
	return err
}

// returnJob ends the lease of a recorded job and makes it pending again, with change
// applied to its record, unless another node executes it by now. It returns the job's
// message, nil if this node does not have it. e.record must be held.
func (l *lease) returnJob(change func(*record)) (jetstream.Msg, error) {
	q, e := l.q, l.e
	q.mu.Lock()
	l.release()
	id, retries, msg := e.job.ID, e.job.Retries, e.msg
	q.mu.Unlock()
	late := false
	r, err := q.update(id, func(r *record) bool {
		if late = q.elsewhere(r, retries); late || r.job.Status.Ended() {
			return false
		}
		r.job.Status, r.job.StartedAt, r.Holder, r.Process = job.Pending, nil, "", ""
		r.Starts = max(0, r.Starts-1)
		change(r)
		return true
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	e.here, e.msg = false, nil
	if late && err == nil && r != nil {
		e.job = r.job
		return nil, nil
	}
	if err == nil && r != nil {
		e.job.Status, e.job.StartedAt = job.Pending, nil
	}
	return msg, err
}

// End implements jobs.Lease.
func (l *lease) End(cause error) (job.Job, error) {
	q, e := l.q, l.e
	e.record.Lock() // what is being recorded is recorded first
	defer e.record.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	var err error
	if cause == nil {
		err = e.job.Complete(time.Now())
	} else {
		err = e.job.Fail(fault.From(cause), time.Now())
	}
	l.ended = e.job
	return l.ended, err
}

// Record implements jobs.Lease: it also publishes the webhooks, and acknowledges
// the message. A failure is not recorded if another node executes the job by now.
func (l *lease) Record() error {
	q, e := l.q, l.e
	q.mu.Lock()
	recorded, msg := e.recorded, e.msg
	q.mu.Unlock()
	var goesOn *record
	if recorded {
		var err error
		if goesOn, err = q.finishOwn(l.ended, msg); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.known, l.ended.ID)
	if goesOn != nil {
		q.log.Info("job failed here after its lease had ended; another node executes it", zap.String("job_id", l.ended.ID), zap.String("node", goesOn.Node))
		e.job, e.here, e.msg = goesOn.job, false, nil // clients that wait learn that it has not ended
	}
	return nil
}

// Wake implements jobs.Lease.
func (l *lease) Wake() {
	l.q.mu.Lock()
	l.release()
	l.q.mu.Unlock()
	close(l.e.ended)
}
