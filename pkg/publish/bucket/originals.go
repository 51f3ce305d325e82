package bucket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// KeepOriginal stores the file at path as the original of a published set that has
// none, if originals are kept.
func (s *Store) KeepOriginal(id, path string) {
	if !s.config.KeepOriginals || s.OriginalSize(id) > 0 {
		return
	}
	err := s.keepOriginal(id, path)
	if errors.Is(err, ErrChanged) {
		err = s.discardOriginal(id)
	}
	if err != nil { // the next upload tries again
		s.log.Error("cannot keep original", zap.String("image_id", id), zap.Error(err))
	}
}

// keepOriginal stores the original of a published set. It returns ErrChanged if the set
// was deleted or changed meanwhile, and nil if it was deleted before.
func (s *Store) keepOriginal(id, path string) error {
	defer s.locks.lock(id)()
	_, at, err := s.index.Look(id)
	if err != nil {
		return err
	}
	m, err := s.ReadManifest(id) // not Get, which locks a set that is missing
	if err != nil {
		return nil // deleted meanwhile
	}
	kept, err := s.storeOriginal(s.ctx, m, path)
	if err != nil || kept == 0 {
		return err
	}
	if err := s.index.Commit(m, kept, at); err != nil {
		return err
	}
	s.Account(m, kept)
	return nil
}

// discardOriginal deletes what this process has stored of a set that another one has
// deleted meanwhile. If the set was made again, the original is that of the new one.
func (s *Store) discardOriginal(id string) error {
	unlock := s.locks.lock(id)
	e, at, err := s.index.Look(id)
	if err == nil && !e.Published && !e.Deleting {
		err = s.index.Mark(id, at)
	}
	unlock()
	switch {
	case errors.Is(err, ErrChanged), err == nil && e.Deleting: // it may be past the original
		s.background.Go(func() {
			select {
			case <-time.After(deletionPoll):
			case <-s.ctx.Done():
				return // "fleet orphans" finds it
			}
			err := s.resume(id)
			if err == nil {
				err = s.discardOriginal(id)
			}
			if err != nil {
				s.log.Error("cannot delete the original of a deleted image", zap.String("image_id", id), zap.Error(err))
			}
		})
		return nil
	case err != nil || e.Published:
		return err
	}
	return s.finishDeletion(id, map[string]bool{id: true})
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

// storeOriginal stores the source at path as the original of a set and returns its
// size, 0 if originals are not kept. It returns an error while the store cannot be used,
// or if ctx ends: the source is deleted once the set is published. Other failures are
// only logged: they would happen again, and the set is useful without its original.
func (s *Store) storeOriginal(ctx context.Context, m manifest.Manifest, path string) (int64, error) {
	if !s.config.KeepOriginals || path == "" {
		return 0, nil
	}
	size, err := s.putOriginal(ctx, m, path)
	var e *s3.Error
	switch {
	case err == nil:
		s.log.Debug("original kept", zap.String("image_id", m.ID))
		return size, nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.As(err, &e) && unusable(e.Class):
		return 0, s.fault(err)
	}
	s.log.Error("cannot keep original", zap.String("image_id", m.ID), zap.Error(err))
	return 0, nil
}

func (s *Store) putOriginal(ctx context.Context, m manifest.Manifest, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if key, ok := s.uploaded.Get(m.Source.SHA256); ok { // it need not be sent again
		if err := s.bucket.Copy(ctx, key, Originals+m.ID); err == nil {
			return info.Size(), nil
		}
		s.uploaded.Remove(m.Source.SHA256) // deleted meanwhile
	}
	_, _, err = s.bucket.PutNew(ctx, s3.Object{Key: Originals + m.ID, Bytes: info.Size(), SHA256: m.Source.SHA256}, f)
	return info.Size(), err
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
