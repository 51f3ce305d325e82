package jobs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// uploads knows which jobs have their source in the store of uploads.
type uploads struct {
	store Uploads // nil for none

	mu     sync.Mutex
	stored map[string]bool // by job id
}

// recover counts the source of an earlier process's upload as stored: deleting one
// that does not exist is harmless.
func (u *uploads) recover(j job.Job) {
	if j.Input == "" {
		u.mark(j.ID)
	}
}

func (u *uploads) mark(jobID string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stored[jobID] = true
}

// untrack stops tracking the source of a job, which stays in the store.
func (u *uploads) untrack(jobID string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.stored, jobID)
}

// put durably stores the file at path as the source of a job.
func (u *uploads) put(j job.Job, path string) error {
	u.mark(j.ID)
	return u.store.Put(j.ID, j.Source.SHA256, path)
}

// fetch downloads the source of a job into the spool, after opening it there failed
// with missing: the process that had it in memory is gone.
func (u *uploads) fetch(ctx context.Context, j job.Job, to *spool.Spool, missing error) (*os.File, error) {
	if u.store == nil || j.Input != "" || !errors.Is(missing, fs.ErrNotExist) {
		return nil, missing
	}
	u.mark(j.ID)
	if err := u.store.Get(ctx, j, to); err != nil {
		return nil, err
	}
	return to.Source(j.Source.SHA256)
}

// delete deletes the source of a job that has ended.
func (u *uploads) delete(jobID string) {
	u.mu.Lock()
	stored := u.stored[jobID]
	delete(u.stored, jobID)
	u.mu.Unlock()
	if stored && u.store != nil {
		u.store.Delete(jobID)
	}
}
