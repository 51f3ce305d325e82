package optimize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/queue"
)

// resolve finds the picture that a job names and takes it into the spool. A
// job whose set is there already ends with that.
func (s *Service) resolve(ctx context.Context, lease *queue.Lease) (more bool, err error) {
	if err := s.Spool.CheckSpace(0); err != nil { // it may pass, and the origin is not asked until then
		return false, err
	}
	j := lease.Job()
	var there bool
	if id, ok := job.ImageInput(j.Input); ok {
		there, err = s.resolveImage(lease, id)
	} else {
		there, err = s.resolveURL(ctx, lease, j.Input)
	}
	if err != nil || there {
		return false, err
	}
	if err := lease.Advance(); err != nil {
		return false, err
	}
	return true, nil
}

func (s *Service) resolveURL(ctx context.Context, lease *queue.Lease, url string) (there bool, err error) {
	upload, err := s.Fetcher.Fetch(ctx, url)
	if isTemporary(err) && s.Spool.CheckSpace(0) == nil {
		return false, permanent{err} // there is room, but not for this picture
	}
	if err != nil {
		return false, err
	}
	defer upload.Discard()
	s.Log.Debug("source received", zap.String("source", upload.Digest()), zap.String("job_id", lease.Job().ID))
	there, err = s.claim(lease, sourceOf(upload), upload.SHA256, upload.Keep)
	lease.AddTimings(upload.Timings)
	return there, err
}

// resolveImage takes the original of a published set.
func (s *Service) resolveImage(lease *queue.Lease, id string) (there bool, err error) {
	path, m, err := s.Maker.Store.Original(id)
	if err != nil {
		return false, err
	}
	var digest [sha256.Size]byte
	if _, err := hex.Decode(digest[:], []byte(m.Source.SHA256)); err != nil {
		return false, fmt.Errorf("decode digest of original: %w", err)
	}
	source := job.Source{SHA256: m.Source.SHA256, Filename: m.Source.Filename, Bytes: m.Source.Bytes}
	return s.claim(lease, source, digest, func() error { return s.Spool.Link(path, source.SHA256) })
}

// claim gives a job its source, which keep takes into the spool unless the
// job's set is there already.
func (s *Service) claim(lease *queue.Lease, source job.Source, digest [sha256.Size]byte, keep func() error) (there bool, err error) {
	j := lease.Job()
	id := j.Recipe.ID(digest)
	s.retain(source.SHA256)
	defer func() {
		if err != nil {
			s.release(source.SHA256)
		}
	}()
	if there = s.Maker.Store.Has(id); !there {
		if err := s.Quarantine.Check(source.SHA256); err != nil {
			return false, err
		}
		if err := keep(); err != nil {
			return false, err
		}
		s.Log.Debug("source stored", zap.String("source", source.SHA256), zap.String("job_id", j.ID))
	}
	if err := lease.Resolve(source, id); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.Queue.Ticket(j.ID); ok && s.inFlight[id] == nil {
		s.inFlight[id] = t
	}
	return there, nil
}
