package bucket

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// sources is the prefix of the keys of unfinished uploads. There is one per job,
// so no reference counting is needed.
const sources = "sources/"

// orphaned is the age after which a source without a job is deleted.
const orphaned = 24 * time.Hour

// Uploads stores the sources of unfinished jobs.
type Uploads struct{ *Store }

// Put durably stores the file at path as the source of a job.
func (u Uploads) Put(jobID, digest, path string) error {
	if err := u.Check(); err != nil {
		return err // at once, since a client waits
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, _, err := u.bucket.PutNew(u.ctx, s3.Object{Key: sources + jobID, Bytes: info.Size(), SHA256: digest}, f); err != nil {
		return fmt.Errorf("store upload: %w", u.fault(err))
	}
	u.uploaded.Add(digest, sources+jobID)
	u.log.Debug("upload stored", zap.String("job_id", jobID))
	return nil
}

// Get stores the source of a job in the spool, and checks its digest. The error is
// fs.ErrNotExist if there is none.
func (u Uploads) Get(ctx context.Context, j job.Job, to *spool.Spool) error {
	err := u.download(ctx, sources+j.ID, j.Source.Bytes, j.Source.SHA256, to)
	if s3.Is(err, s3.NotFound) {
		return fmt.Errorf("%w (%w)", fs.ErrNotExist, err)
	}
	return err
}

// Delete deletes the source of a job in the background. Close waits for it. What
// fails is deleted by a later Sweep.
func (u Uploads) Delete(jobID string) {
	u.background.Go(func() { u.delete(jobID) })
}

func (u Uploads) delete(jobID string) {
	if err := u.bucket.Delete(u.last, sources+jobID); err != nil {
		u.log.Warn("cannot delete upload; it is deleted after a day", zap.String("job_id", jobID), zap.Error(err))
	}
}

// Sweep deletes, sequentially in the background, sources that are older than a
// day and for whose job needed returns false: their process was killed, a
// deletion failed, or a failed job no longer has a record.
func (u Uploads) Sweep(needed func(jobID string) bool, now time.Time) {
	u.background.Go(func() {
		for o, err := range u.bucket.List(u.ctx, sources) {
			if u.ctx.Err() != nil {
				return // the store is closed
			}
			if err != nil {
				u.log.Warn("cannot list uploads", zap.Error(err))
				return
			}
			jobID := strings.TrimPrefix(o.Key, sources)
			if now.Sub(o.Modified) > orphaned && !needed(jobID) {
				u.delete(jobID)
			}
		}
	})
}
