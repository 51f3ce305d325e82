package fleet

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// List implements jobs.Queue. It reads all records.
func (q *Queue) List(status job.Status, before string, limit int) (page []job.Job, more bool, err error) {
	page = []job.Job{}
	err = q.f.jobs.each(q.f.ctx, "", func(id string, v value) error {
		r, err := decodeRecord(id, v.data)
		if err != nil || r.Level > level || status != "" && r.job.Status != status || before != "" && id >= before || r.job.Expired(q.f.config.Keep, time.Now()) {
			return nil //nolint:nilerr // unreadable records are not listed; housekeeping reports them
		}
		page = append(page, r.job)
		return nil
	})
	slices.SortFunc(page, func(a, b job.Job) int { return strings.Compare(b.ID, a.ID) }) // ids sort by creation time
	if len(page) > limit {
		return page[:limit], true, err
	}
	return page, false, err
}

// Take implements jobs.Queue: this process becomes the holder of a job that waits.
func (q *Queue) Take(id string) (jobs.Lease, error) {
	if _, err := q.Get(id); err != nil {
		return nil, err
	}
	q.mu.Lock()
	e, ok := q.known[id]
	if ok && e.here {
		defer q.mu.Unlock()
		i := slices.Index(q.line, e)
		if i < 0 || e.job.Status != job.Pending {
			return nil, jobs.ErrStarted
		}
		q.line = slices.Delete(q.line, i, i+1)
		q.running++
		return &lease{q: q, e: e, phase: jobs.Render}, nil
	}
	q.mu.Unlock()
	r, v, err := q.read(id)
	if err != nil {
		return nil, err
	}
	if r == nil || r.Level > level || r.job.Status != job.Pending || r.Holder != "" {
		return nil, jobs.ErrStarted
	}
	r.Holder = q.f.instance
	if err := q.store(r, v.revision); errors.Is(err, errChanged) {
		return nil, jobs.ErrStarted
	} else if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	e = q.watchLocked(r.job)
	e.job, e.here, e.began = r.job, true, time.Now()
	q.running++
	return &lease{q: q, e: e, phase: jobs.Render}, nil
}
