package bucket

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// KeepOriginal stores the file at path as the original of a published set that has
// none, if originals are kept.
func (s *Store) KeepOriginal(id, path string) {
	if !s.config.KeepOriginals || s.OriginalSize(id) > 0 {
		return
	}
	defer s.locks.lock(id)()
	_, at, err := s.index.Look(id)
	if err != nil {
		return // the next upload tries again
	}
	m, err := s.ReadManifest(id) // not Get, which locks a set that is missing
	if err != nil {
		return // deleted meanwhile
	}
	if kept := s.storeOriginal(s.ctx, m, path); kept > 0 {
		if err := s.index.Commit(m, kept, at); err != nil {
			s.log.Error("cannot keep original", zap.String("image_id", id), zap.Error(err))
			return
		}
		s.Account(m, kept)
	}
}

// Original returns the manifest of a published set whose original is kept, or a
// NotFound fault.
func (s *Store) Original(id string) (manifest.Manifest, error) {
	m, err := s.Get(id)
	if err != nil {
		return m, err
	}
	e, _, err := s.index.Look(id)
	if err == nil && e.Original == 0 {
		err = catalog.ErrNoOriginal
	}
	return m, err
}

// CopyOriginal downloads the original of a set into the spool, and checks its
// digest.
func (s *Store) CopyOriginal(ctx context.Context, m manifest.Manifest, to *spool.Spool) error {
	if err := s.download(ctx, Originals+m.ID, m.Source.Bytes, m.Source.SHA256, to); err != nil {
		return err
	}
	s.uploaded.Add(m.Source.SHA256, Originals+m.ID)
	return nil
}

// download stores an object in the spool under its digest.
func (s *Store) download(ctx context.Context, key string, size int64, digest string, to *spool.Spool) error {
	c := content{ctx: ctx, store: s, key: key, size: size}
	defer c.Close()
	upload, err := to.Receive(&c, "")
	if err != nil {
		return fmt.Errorf("download %s: %w", key, err)
	}
	defer upload.Discard()
	if upload.Digest() != digest {
		return fmt.Errorf("download %s: the digest is %s, want %s", key, upload.Digest(), digest)
	}
	return upload.Keep()
}
