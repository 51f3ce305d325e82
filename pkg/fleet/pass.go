package fleet

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// passed is the part of a record that lists the nodes that cannot execute the job.
// It is optional: a node of an earlier version drops it when it writes the record,
// and then some nodes try again in vain.
type passed struct {
	Nodes   []string   `json:"nodes"` // their processes: a restarted node may be able
	Code    fault.Code `json:"code"`  // why the last of them cannot
	Message string     `json:"message"`
}

// maxPassed limits the processes in a record; the oldest are dropped.
const maxPassed = 64

// by reports whether a process has passed on the job.
func (p *passed) by(instance string) bool { return p != nil && slices.Contains(p.Nodes, instance) }

// with returns p with one more process.
func (p *passed) with(instance string, cause *fault.Error) *passed {
	next := &passed{Code: cause.Code, Message: cause.Detail}
	if p != nil {
		next.Nodes = p.Nodes[max(0, len(p.Nodes)-maxPassed+1):]
	}
	next.Nodes = append(slices.Clip(next.Nodes), instance)
	return next
}

// unable reports whether this node cannot execute the job of a message. If so, it
// leaves the message to nodes that can, or fails the job if there are none. The job
// has not started, so this does not count as an attempt.
func (q *Queue) unable(r *record, msg jetstream.Msg) bool {
	about := q.f.about.Load()
	if about == nil {
		return false
	}
	cause := about.unable(r.job)
	if cause == nil && r.Passed.by(q.f.instance) {
		cause = fault.New(r.Passed.Code, "%s", r.Passed.Message)
	}
	if cause == nil {
		return false
	}
	if able, known := q.abler(r.job, r.Passed, cause.Code); len(able) > 0 || !known {
		q.counts.unable.Add(1)
		q.leave(msg, able)
		return true
	}
	q.fail(r.job, msg, cause)
	return true
}

// abler returns the processes of other nodes that may execute a job which failed
// here with code. known is false if the abilities of other nodes cannot be read.
func (q *Queue) abler(j job.Job, p *passed, code fault.Code) (able []string, known bool) {
	about := q.f.about.Load()
	if about == nil || !slices.Contains(ofNode, code) {
		return nil, true
	}
	nodes, err := q.f.able()
	if err != nil {
		q.log.Debug("cannot read what other nodes can do", zap.Error(err))
		return nil, false
	}
	for _, n := range nodes {
		if n.Name != q.f.node && !p.by(n.Instance) && n.Abilities.unable(j) == nil && n.Abilities.exceeds(*about, code) {
			able = append(able, n.Instance)
		}
	}
	return able, true
}

// A message that is left to other nodes is delivered again after leaveTime, then
// after twice as long each time, up to maxLeaveTime, because this node may get it
// again.
const (
	leaveTime    = 200 * time.Millisecond
	maxLeaveTime = 10 * time.Second
)

// leave returns a message to the fleet, and wakes the workers of the processes in
// able when it is delivered again.
func (q *Queue) leave(msg jetstream.Msg, able []string) {
	delay := leaveTime
	if meta, err := msg.Metadata(); err == nil {
		delay = min(leaveTime<<min(meta.NumDelivered-1, 10), maxLeaveTime)
	}
	_ = msg.NakWithDelay(delay) // otherwise it is delivered after the lease
	time.AfterFunc(delay+leaveTime/4, func() {
		if q.f.ctx.Err() == nil {
			q.wakeWorkers(able)
		}
	})
}

// Pass implements jobs.Lease.
func (l *lease) Pass(cause error, persist func() error) (bool, error) {
	q, e := l.q, l.e
	why := fault.From(cause)
	j := l.Job()
	r, _, err := q.read(j.ID) // nil for a job held in memory
	if err != nil {
		return false, err
	}
	var before *passed
	if r != nil {
		before = r.Passed
	}
	able, known := q.abler(j, before, why.Code)
	if len(able) == 0 && known {
		return false, nil
	}
	if err := persist(); err != nil {
		return false, err
	}
	e.record.Lock()
	defer e.record.Unlock()
	msg, err := l.returnJob(func(r *record) {
		r.job.Attempts = max(0, r.job.Attempts-1)
		r.Passed = r.Passed.with(q.f.instance, why)
	})
	if err != nil {
		return true, err
	}
	q.counts.unable.Add(1)
	q.log.Info("job left to another node", zap.String("job_id", e.job.ID), zap.String("result", string(why.Code)))
	if msg != nil {
		q.leave(msg, able)
	} else {
		q.wakeWorkers(able)
	}
	return true, nil
}
