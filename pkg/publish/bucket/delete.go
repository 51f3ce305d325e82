package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Delete deletes a set; an unknown one is not an error. If the store cannot be
// reached, the set is gone from listings nevertheless, and FinishDeletions deletes
// its objects later.
func (s *Store) Delete(id string) error {
	if !ladder.ValidID(id) {
		return nil
	}
	defer s.locks.lock(id)()
	for {
		e, at, err := s.index.Look(id)
		if err != nil {
			return fmt.Errorf("delete %s: %w", id, err)
		}
		if e.Deleting && time.Since(e.Since) < takeOverTime {
			s.Drop(id)
			return nil // another process deletes the objects
		}
		if e.Deleting || !e.Published && !s.Has(id) {
			return s.takeOver(id)
		}
		err = s.index.Mark(id, at)
		if errors.Is(err, ErrChanged) {
			continue
		}
		if err != nil {
			return fmt.Errorf("delete %s: %w", id, err)
		}
		s.Drop(id)
		s.log.Debug("set marked for deletion", zap.String("image_id", id))
		return s.finishDeletion(id)
	}
}

// DeleteAll deletes sets; unknown ones are not an error.
func (s *Store) DeleteAll(ids []string) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.Delete(id))
	}
	return errors.Join(errs...)
}

// takeOver finishes the deletion of a marked set that another process has begun. Its
// own mark keeps others from doing so, too: they could delete the objects of a set
// that is made after this.
func (s *Store) takeOver(id string) error {
	e, at, err := s.index.Look(id)
	if err != nil || !e.Deleting {
		return err
	}
	if !e.Since.IsZero() {
		if err := s.index.Mark(id, at); err != nil {
			if errors.Is(err, ErrChanged) {
				return nil // another process was faster
			}
			return fmt.Errorf("delete %s: %w", id, err)
		}
	}
	return s.finishDeletion(id)
}

// finishDeletion deletes the objects of a set that is marked, the manifest first:
// without it the others do not count. The set must be locked.
func (s *Store) finishDeletion(id string) error {
	e, at, err := s.index.Look(id)
	if err != nil || !e.Deleting {
		return err
	}
	if err := s.deleteObjects(id); err != nil {
		return fmt.Errorf("delete %s: %w", id, s.fault(err))
	}
	if err := s.index.Unmark(id, at); !errors.Is(err, ErrChanged) {
		return err
	}
	return nil // another process has finished it
}

// deletionTime bounds the deletion of a set's objects. Nobody else takes it over,
// or makes the set again, for longer than that.
const deletionTime = 45 * time.Second

// takeOverTime is the age of a mark after which another process finishes its
// deletion.
const takeOverTime = time.Minute

func (s *Store) deleteObjects(id string) error {
	ctx, cancel := context.WithTimeout(s.ctx, deletionTime)
	defer cancel()
	if err := s.bucket.Delete(ctx, id+"/"+manifest.FileName); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for o, err := range s.bucket.List(ctx, id+"/") {
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			if variant, ok := variantOf(id, o.Key); ok {
				if err := s.Delete(variant); err != nil {
					return err
				}
			}
			return s.bucket.Delete(ctx, o.Key)
		})
	}
	group.Go(func() error { return s.bucket.Delete(ctx, Originals+id) })
	return group.Wait()
}

// FinishDeletions deletes the objects of sets that are marked: an earlier process
// ended, or the store could not be reached.
func (s *Store) FinishDeletions() error {
	ids, err := s.index.Marked()
	errs := []error{err}
	for _, id := range ids {
		unlock := s.locks.lock(id)
		err := s.takeOver(id)
		unlock()
		if err != nil {
			errs = append(errs, err)
			break // the others would fail too
		}
	}
	return errors.Join(errs...)
}
