package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// claimTime is the time after which an abandoned claim expires. Then equal work may
// be done twice.
const claimTime = 24 * time.Hour

const claimPrefix = "claim."

func claimKey(j job.Job) string {
	key := j.Key()
	if j.Input == "" {
		key = "image " + j.ImageID
	}
	sum := sha256.Sum256([]byte(key))
	return claimPrefix + hex.EncodeToString(sum[:])
}

// claim claims the work of a job, and returns the revision of the claim, or joins the
// equal job that has it.
func (q *Queue) claim(j job.Job) (revision uint64, _ jobs.Ticket, err error) {
	key := claimKey(j)
	revision, err = q.f.state.put(key, []byte(j.ID), 0, claimTime) // new work needs no read
	for errors.Is(err, errChanged) {
		v, readErr := q.f.state.get(key)
		if readErr != nil {
			return 0, nil, readErr
		}
		if v.data != nil {
			t, err := q.join(string(v.data), j.Webhooks)
			if t != nil || err != nil {
				return 0, t, err
			}
		}
		revision, err = q.f.state.put(key, []byte(j.ID), v.revision, claimTime)
	}
	return revision, nil, err
}

// unclaim removes the claim that a job made at this revision, 0 if unknown. A claim
// of another revision belongs to an equal job or a retry.
func (q *Queue) unclaim(j job.Job, revision uint64) {
	var err error
	if revision == 0 {
		var v value
		if v, err = q.f.state.get(claimKey(j)); string(v.data) == j.ID {
			revision = v.revision
		}
	}
	if revision != 0 {
		if err = q.f.state.remove(claimKey(j), revision); errors.Is(err, errChanged) {
			err = nil
		}
	}
	q.logError("cannot remove claim; an equal job takes it over", j.ID, err)
}

// join returns a ticket for a job with webhooks added, or nil if the job has ended.
// It publishes the job's message again, in case that failed when the job was put.
func (q *Queue) join(id string, webhooks []job.Webhook) (jobs.Ticket, error) {
	r, _, err := q.read(id)
	if err != nil || r == nil || r.job.Status.Ended() || r.Level > level {
		return nil, err
	}
	t := &ticket{q, q.watch(r.job)}
	for _, w := range webhooks {
		if ok, err := t.AddWebhook(w); !ok || err != nil {
			return nil, err
		}
	}
	if r.job.Status == job.Pending {
		if joined, err := q.publishAgain(r.job); !joined || err != nil {
			return nil, err
		}
	}
	return t, nil
}

// publishAgain publishes the message of a job that another node is accepting, unless
// there is one. It writes the record first, so that the other node cannot undo it any
// more. ok is false if it has done so, or the job has ended.
func (q *Queue) publishAgain(j job.Job) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), operationTime)
	defer cancel()
	_, err = q.f.work.GetLastMsgForSubject(ctx, q.workSubject(j))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, unavailable(err)
	}
	r, err := q.update(j.ID, func(r *record) bool { return !r.job.Status.Ended() })
	if err != nil || r == nil || r.job.Status.Ended() {
		return false, err
	}
	if err := q.post(j); err != nil {
		return false, err
	}
	q.announceWork(lane(j))
	return true, nil
}

// undo removes the record and the claim of a job that was not accepted, or restores
// the record that it replaced. undone is false if the record has changed since: another
// node has joined the job, and may have accepted it.
func (q *Queue) undo(r record, before *record) (undone bool) {
	var err error
	if before == nil {
		err = q.f.jobs.remove(r.job.ID, r.revision)
	} else {
		err = q.store(before, r.revision)
	}
	if errors.Is(err, errChanged) {
		return false
	}
	q.logError("cannot undo the record of a refused job; housekeeping publishes it", r.job.ID, err)
	q.unclaim(r.job, r.Claim)
	return true
}

// pruneClaims removes claims whose job has ended or was never recorded. It spares
// those of the last minute: the record is written right after the claim.
func (q *Queue) pruneClaims(now time.Time) error {
	old := make(map[string]value)
	err := q.f.state.each(q.f.ctx, claimPrefix, func(key string, v value) error {
		if now.Sub(v.at) > time.Minute {
			old[key] = v
		}
		return nil
	})
	errs := []error{err}
	for key, v := range old {
		r, _, err := q.read(string(v.data))
		if err == nil && (r == nil || r.job.Status.Ended()) {
			if err = q.f.state.remove(key, v.revision); errors.Is(err, errChanged) {
				err = nil
			}
		}
		if errs = append(errs, err); fault.CodeOf(err) == fault.Unavailable {
			break // the others would fail too
		}
	}
	return errors.Join(errs...)
}
