package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Delete deletes a set and the variants made on demand from the image; an unknown id
// is not an error. If the store cannot be reached, the set is gone from listings
// nevertheless, and FinishDeletions deletes its objects later.
func (s *Store) Delete(id string) error {
	if !ladder.ValidID(id) {
		return nil
	}
	return s.delete(id, make(map[string]bool))
}

// delete is Delete, except for the ids in begun, to which it adds those whose deletion
// it begins: two images may be variants of each other. No set may be locked.
func (s *Store) delete(id string, begun map[string]bool) error {
	if begun[id] {
		return nil
	}
	begun[id] = true
	marked, err := s.mark(id)
	if err != nil || !marked {
		return err
	}
	return s.finishDeletion(id, begun)
}

// mark unpublishes a set. marked is false if there is nothing to delete, or if another
// process is deleting it.
func (s *Store) mark(id string) (marked bool, err error) {
	defer s.locks.lock(id)()
	for {
		e, at, err := s.index.Look(id)
		switch {
		case err != nil:
			return false, fmt.Errorf("delete %s: %w", id, err)
		case e.Deleting:
			s.Drop(id)
			return s.takeMark(id, e, at)
		case !e.Published && !s.Has(id):
			return false, nil
		}
		err = s.index.Mark(id, at)
		if errors.Is(err, ErrChanged) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("delete %s: %w", id, err)
		}
		s.Drop(id)
		s.log.Debug("set marked for deletion", zap.String("image_id", id))
		return true, nil
	}
}

// DeleteAll deletes sets, until ctx ends or one cannot be deleted; unknown ones are not
// an error.
func (s *Store) DeleteAll(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.Delete(id); err != nil {
			return err
		}
	}
	return nil
}

// takeMark takes over a mark that another process left. Its own mark keeps others from
// doing so, too: they could delete the objects of a set that is made after this. taken is
// false if another process is deleting the set, or was faster. The set must be locked.
func (s *Store) takeMark(id string, e Entry, at Revision) (taken bool, err error) {
	switch {
	case e.Since.IsZero():
		return true, nil // no other process uses the index
	case time.Since(e.Since) < takeOverTime:
		return false, nil
	}
	err = s.index.Mark(id, at)
	if errors.Is(err, ErrChanged) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("delete %s: %w", id, err)
	}
	return true, nil
}

// resume finishes the deletion of a set, if another process has left its mark. No set may
// be locked.
func (s *Store) resume(id string) error {
	unlock := s.locks.lock(id)
	e, at, err := s.index.Look(id)
	taken := false
	if err == nil && e.Deleting {
		taken, err = s.takeMark(id, e, at)
	}
	unlock()
	if err != nil || !taken {
		return err
	}
	return s.finishDeletion(id, map[string]bool{id: true})
}

// finishDeletion deletes the objects of a set that is marked, and its variants that are
// not in begun. The records of variants are deleted last, so that whoever finishes an
// interrupted deletion finds them. No set may be locked: variants are locked one by one.
func (s *Store) finishDeletion(id string, begun map[string]bool) error {
	ctx, cancel := context.WithTimeout(s.ctx, deletionTime)
	defer cancel()
	var mark Revision
	for first := true; ; first = false {
		variants, at, err := s.deleteObjects(ctx, id, begun, first, mark)
		if err != nil || len(variants) == 0 {
			return err
		}
		mark = at
		for _, variant := range variants {
			if err := s.delete(variant, begun); err != nil {
				return err
			}
		}
	}
}

// deletionTime bounds the deletion of a set's objects. Nobody else takes it over,
// or makes the set again, for longer than that.
const deletionTime = 45 * time.Second

// takeOverTime is the age of a mark after which another process finishes its
// deletion.
const takeOverTime = time.Minute

// deleteObjects deletes the objects of a set that is marked, the manifest first: without
// it the others do not count. If it returns variants, which are not in begun, the
// records of these and the mark are still there. Unless it is the first call, the mark
// must not have changed since.
func (s *Store) deleteObjects(ctx context.Context, id string, begun map[string]bool, first bool, mark Revision) (variants []string, at Revision, err error) {
	defer s.locks.lock(id)()
	e, at, err := s.index.Look(id)
	if err != nil || !e.Deleting || !first && at != mark {
		return nil, at, err // nil: another process has finished it, or does
	}
	records, err := s.deleteFiles(ctx, id)
	if err != nil {
		return nil, at, fmt.Errorf("delete %s: %w", id, s.fault(err))
	}
	for _, key := range records {
		if variant, ok := variantOf(id, key); ok && !begun[variant] {
			variants = append(variants, variant)
		}
	}
	if len(variants) > 0 {
		return variants, at, nil
	}
	if err := s.deleteKeys(ctx, slices.Values(records)); err != nil {
		return nil, at, fmt.Errorf("delete %s: %w", id, s.fault(err))
	}
	if err := s.index.Unmark(id, at); !errors.Is(err, ErrChanged) {
		return nil, at, err
	}
	return nil, at, nil // another process has finished it
}

// deleteFiles deletes the objects of a set and its original, except the records of
// variants, whose keys it returns.
func (s *Store) deleteFiles(ctx context.Context, id string) (records []string, err error) {
	if err := s.bucket.Delete(ctx, id+"/"+manifest.FileName); err != nil {
		return nil, err
	}
	var failure error
	err = s.deleteKeys(ctx, func(yield func(key string) bool) {
		for o, err := range s.bucket.List(ctx, id+"/") {
			if failure = err; err != nil {
				return
			}
			if _, ok := variantOf(id, o.Key); ok {
				records = append(records, o.Key)
			} else if !yield(o.Key) {
				return
			}
		}
		yield(Originals + id)
	})
	return records, errors.Join(failure, err)
}

// deleteKeys deletes objects, several at once.
func (s *Store) deleteKeys(ctx context.Context, keys iter.Seq[string]) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for key := range keys {
		if ctx.Err() != nil {
			break // one has failed
		}
		group.Go(func() error { return s.bucket.Delete(ctx, key) })
	}
	return group.Wait()
}

// FinishDeletions deletes the objects of sets that are marked: an earlier process
// ended, or the store could not be reached. It stops at the end of ctx.
func (s *Store) FinishDeletions(ctx context.Context) error {
	ids, err := s.index.Marked()
	errs := []error{err}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.resume(id); err != nil {
			errs = append(errs, err)
			break // the others would fail too
		}
	}
	return errors.Join(errs...)
}
