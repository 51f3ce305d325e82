package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/job"
)

// resolve gets the source that a job names and stores it in the spool. If the
// job's set exists already, the job ends.
func (s *Service) resolve(ctx context.Context, lease Lease) (advanced bool, err error) {
	j := lease.Job()
	var published bool
	if id, ok := job.ImageInput(j.Input); ok {
		published, err = s.resolveImage(ctx, lease, id)
	} else {
		published, err = s.resolveURL(ctx, lease, j.Input)
	}
	if err != nil || published {
		return false, err
	}
	if err := lease.Advance(); err != nil {
		return false, err
	}
	return true, nil
}

func (s *Service) resolveURL(ctx context.Context, lease Lease, url string) (published bool, err error) {
	upload, err := s.config.Fetcher.Fetch(ctx, url)
	if isTemporary(err) && s.ready(0, 0) == nil {
		return false, permanent{err} // there is space, but not enough for this image
	}
	if err != nil {
		return false, err
	}
	defer upload.Discard()
	s.log.Debug("source received", zap.String("source", upload.Digest()), zap.String("job_id", lease.Job().ID))
	published, err = s.setSource(ctx, lease, sourceOf(upload), upload.SHA256, upload.Keep)
	lease.AddTimings(upload.Timings)
	return published, err
}

// resolveImage gets the original of a published set.
func (s *Service) resolveImage(ctx context.Context, lease Lease, id string) (published bool, err error) {
	m, err := s.config.Sets.Original(id)
	if err != nil {
		return false, err
	}
	var digest [sha256.Size]byte
	if _, err := hex.Decode(digest[:], []byte(m.Source.SHA256)); err != nil {
		return false, fmt.Errorf("digest of original: %w", err)
	}
	source := job.Source{SHA256: m.Source.SHA256, Filename: m.Source.Filename, Bytes: m.Source.Bytes}
	return s.setSource(ctx, lease, source, digest, func() error { return s.config.Sets.CopyOriginal(ctx, m, s.config.Spool) })
}

// setSource records a job's source. It calls keep to store it in the spool, unless
// the job's set exists already.
func (s *Service) setSource(ctx context.Context, lease Lease, source job.Source, digest [sha256.Size]byte, keep func() error) (published bool, err error) {
	j := lease.Job()
	id := j.Recipe.ID(digest)
	s.sources.retain(source.SHA256, j.ID)
	defer func() {
		if err != nil {
			s.sources.release(source.SHA256, j.ID)
		}
	}()
	if published = s.config.Sets.Has(id); !published {
		if err := keep(); err != nil {
			return false, err
		}
		s.log.Debug("source stored", zap.String("source", source.SHA256), zap.String("job_id", j.ID))
	}
	if err := lease.SetSource(source, id); err != nil {
		return false, err
	}
	if t, ok := s.config.Queue.Ticket(j.ID); ok {
		s.claims.index(imageKey(id), t)
	}
	if published {
		err = s.recordVariant(ctx, lease.Job())
	}
	return published, err
}

// recordVariant records a published set as a variant of the image that its job names:
// the set may have been made from another image, with the same source.
func (s *Service) recordVariant(ctx context.Context, j job.Job) error {
	if parent := j.Parent(); parent != "" {
		return s.config.Sets.RecordVariant(ctx, parent, j.ImageID)
	}
	return nil
}
