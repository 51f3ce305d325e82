package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// fail ends a job that this node has not started.
func (q *Queue) fail(j job.Job, msg jetstream.Msg, cause *fault.Error) {
	q.log.Warn("job failed", zap.String("job_id", j.ID), zap.String("result", string(cause.Code)), zap.String("filename", j.Source.Filename),
		zap.Int64("bytes_in", j.Source.Bytes), zap.String("request_id", j.RequestID), zap.Error(cause))
	j.Status = job.Processing
	if j.StartedAt == nil {
		j.StartedAt = &j.CreatedAt
	}
	err := j.Fail(cause, time.Now())
	if err == nil {
		_, err = q.finish(j, msg, func(*record) bool { return false })
	}
	q.logError("cannot record the end of a job; its message is redelivered", j.ID, err)
}

// elsewhere reports whether another process has started the job of a record since this
// one did, or the job was retried: this process has lost its lease.
func (q *Queue) elsewhere(r *record, retries int) bool {
	return r.Process != "" && r.Process != q.f.instance || r.job.Retries > retries
}

// finish records the end of a job that has a record, unless another node has done
// so, and calls tidy. If late returns true for the record, it changes nothing, and returns
// the record: the job is still executed.
func (q *Queue) finish(j job.Job, msg jetstream.Msg, late func(*record) bool) (goesOn *record, err error) {
	isLate := false
	r, err := q.update(j.ID, func(r *record) bool {
		if isLate = false; r.job.Status.Ended() {
			return false
		}
		if isLate = late(r); isLate {
			return false
		}
		j.Webhooks = r.job.Webhooks // others may have added some
		r.job, r.Holder = j, ""
		return true
	})
	if err != nil {
		return nil, err
	}
	if isLate {
		return r, nil
	}
	claim := uint64(0)
	if r != nil && r.Level <= level {
		j, claim = r.job, r.Claim
	}
	q.log.Debug("job end recorded", zap.String("job_id", j.ID))
	return nil, q.tidy(j, claim, msg)
}

// finishOwn is finish for a job that this process has executed. Of a job that another
// process has started since, it records no failure: that process may succeed. A set that is
// published completes the job for both.
func (q *Queue) finishOwn(j job.Job, msg jetstream.Msg) (goesOn *record, err error) {
	return q.finish(j, msg, func(r *record) bool { return j.Status == job.Failed && q.elsewhere(r, j.Retries) })
}

// tidy completes a job whose end is recorded: it stores the webhooks, removes the
// claim of this revision and acknowledges the message, in this order. It may be
// repeated.
func (q *Queue) tidy(j job.Job, claim uint64, msg jetstream.Msg) error {
	for target := range j.Webhooks {
		if err := q.f.postWebhook(j, target); err != nil {
			return err
		}
	}
	if len(j.Webhooks) > 0 {
		q.log.Debug("webhooks stored", zap.String("job_id", j.ID))
	}
	q.unclaim(j, claim)
	if msg != nil {
		ctx, cancel := context.WithTimeout(context.Background(), operationTime)
		defer cancel()
		if err := msg.DoubleAck(ctx); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			return unavailable(err)
		}
	}
	q.log.Debug("job ended", zap.String("job_id", j.ID))
	if err := q.f.nc.Publish(q.f.subject+"ended."+j.ID, nil); err != nil {
		q.log.Debug("cannot notify waiting nodes; they poll", zap.Error(err))
	}
	return nil
}
