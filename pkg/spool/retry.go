package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

// The sources of failed uploads are kept so that their jobs can be retried: in
// Config.Retry, as a second name of the file, which is the id of the job. Ids sort
// by creation time, so the first name is the oldest source.

// KeepForRetry durably keeps the source of a failed job beyond Remove, and deletes
// the oldest such sources while they exceed Config.RetryBytes. It does nothing for
// a source that is not on disk.
func (s *Spool) KeepForRetry(digest, jobID string) error {
	if s.config.RetryBytes == 0 {
		return nil
	}
	err := os.Link(s.path(digest), s.retryPath(jobID))
	switch {
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist): // since an earlier failure; it is in a bucket
		return nil
	case err != nil:
		return fmt.Errorf("keep source: %w", err)
	}
	if err := durable.SyncDir(s.config.Retry); err != nil {
		return fmt.Errorf("keep source: %w", err)
	}
	return s.trimRetries()
}

// Retry durably restores the source kept for a failed job under its digest.
// The error is fs.ErrNotExist if it is no longer kept.
func (s *Spool) Retry(digest, jobID string) error { return s.Link(s.retryPath(jobID), digest) }

// DeleteRetries deletes the kept sources of jobs for which needed returns false.
func (s *Spool) DeleteRetries(needed func(jobID string) bool) error {
	return s.eachRetry(func(e fs.DirEntry) (bool, error) {
		if needed(e.Name()) {
			return true, nil
		}
		return true, s.removeRetry(e)
	})
}

// Room returns nil if the disk has space for another need bytes (-1 if unknown).
// Otherwise it deletes sources kept for failed jobs, oldest first, and then calls
// Config.MakeRoom. It returns an InsufficientStorage fault if that is not enough.
func (s *Spool) Room(need int64) error {
	short := s.reserve.Check(need)
	if fault.CodeOf(short) != fault.InsufficientStorage {
		return short
	}
	err := s.eachRetry(func(e fs.DirEntry) (bool, error) {
		if err := s.removeRetry(e); err != nil {
			return false, err
		}
		short = s.reserve.Check(need)
		return short != nil, nil
	})
	if short != nil && s.config.MakeRoom != nil && s.config.MakeRoom(need) {
		return nil
	}
	return errors.Join(short, err)
}

// trimRetries deletes the oldest kept sources while they exceed Config.RetryBytes.
func (s *Spool) trimRetries() error {
	var kept int64
	size := func(e fs.DirEntry) int64 {
		info, err := e.Info()
		if err != nil {
			return 0 // deleted meanwhile
		}
		return info.Size()
	}
	err := s.eachRetry(func(e fs.DirEntry) (bool, error) {
		kept += size(e)
		return true, nil
	})
	if err != nil || kept <= s.config.RetryBytes {
		return err
	}
	return s.eachRetry(func(e fs.DirEntry) (bool, error) {
		kept -= size(e)
		return kept > s.config.RetryBytes, s.removeRetry(e)
	})
}

// eachRetry calls do with the kept sources, oldest first, until it returns
// false.
func (s *Spool) eachRetry(do func(fs.DirEntry) (more bool, err error)) error {
	if s.config.RetryBytes == 0 {
		return nil
	}
	entries, err := os.ReadDir(s.config.Retry) // sorted by name
	if err != nil {
		return fmt.Errorf("list kept sources: %w", err)
	}
	for _, e := range entries {
		if more, err := do(e); err != nil || !more {
			return err
		}
	}
	return nil
}

// removeRetry deletes a kept source.
func (s *Spool) removeRetry(e fs.DirEntry) error {
	if err := os.Remove(s.retryPath(e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete kept source: %w", err)
	}
	return nil
}

func (s *Spool) retryPath(jobID string) string { return filepath.Join(s.config.Retry, jobID) }
