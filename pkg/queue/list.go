package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// List implements jobs.Queue. It reads the names of all records, and the records
// of the page.
func (q *Queue) List(status job.Status, before string, limit int) (page []job.Job, more bool, err error) {
	ids, err := q.ids(status)
	if err != nil {
		return nil, false, fmt.Errorf("list jobs: %w", err)
	}
	if before != "" {
		ids = slices.DeleteFunc(ids, func(id string) bool { return id >= before })
	}
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) // ids sort by creation time
	page = []job.Job{}
	for _, id := range slices.Compact(ids) {
		j, err := q.Get(id)
		switch {
		case fault.CodeOf(err) == fault.NotFound, err == nil && status != "" && j.Status != status:
			continue // it has just ended
		case err == nil && j.Expired(q.config.Keep, time.Now()):
			continue // its record is deleted soon
		case err != nil:
			q.log.Warn("skipping unreadable job record", zap.String("job_id", id), zap.Error(err))
			continue
		case len(page) == limit:
			return page, true, nil
		}
		page = append(page, j)
	}
	return page, false, nil
}

// ids returns the ids of the jobs that may have a status, some of them twice.
func (q *Queue) ids(status job.Status) (ids []string, err error) {
	for _, j := range q.Active() {
		if status == "" || j.Status == status {
			ids = append(ids, j.ID)
		}
	}
	for folder, of := range map[*records]job.Status{&q.doneJobs: job.Completed, &q.failedJobs: job.Failed} {
		if status != "" && status != of {
			continue
		}
		ended, err := folder.IDs()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		ids = append(ids, ended...)
	}
	return ids, nil
}
