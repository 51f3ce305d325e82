package bucket

import (
	"context"
	"errors"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// Orphan is the objects and the original under an image id without a set.
type Orphan struct {
	ID      string    `json:"id"`
	Objects int       `json:"objects"`
	Bytes   int64     `json:"bytes"`
	Newest  time.Time `json:"newest"` // of its objects, by the store's clock
}

func (o *Orphan) add(object s3.Object) {
	o.Objects++
	o.Bytes += object.Bytes
	if object.Modified.After(o.Newest) {
		o.Newest = object.Modified
	}
}

// Orphaned counts what Orphans found.
type Orphaned struct {
	Orphans int   `json:"orphans"`
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
	Young   int   `json:"young"`   // ids whose objects are too young to tell
	Sets    int   `json:"sets"`    // complete sets that the index lacks: never deleted
	Deleted int   `json:"deleted"` // of Orphans
}

// Orphans finds the objects of images that the index does not have, all of them
// older than before. remove deletes those that it returns true for. Objects that
// are being adopted at that moment, by a process that makes the set, are made
// again.
func (s *Store) Orphans(ctx context.Context, before time.Time, remove func(Orphan) bool) (r Orphaned, err error) {
	kept, err := ListOriginals(ctx, s.bucket)
	if err != nil {
		return r, s.fault(err)
	}
	take := func(id string, files map[string]s3.Object) error {
		if original, ok := kept[id]; ok {
			delete(kept, id)
			return s.takeOrphan(ctx, id, files, &original, before, remove, &r)
		}
		return s.takeOrphan(ctx, id, files, nil, before, remove, &r)
	}
	if err := s.eachSet(ctx, take); err != nil {
		return r, err
	}
	for id := range kept {
		if !ladder.ValidID(id) {
			continue
		}
		if err := take(id, nil); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (s *Store) takeOrphan(ctx context.Context, id string, files map[string]s3.Object, original *s3.Object, before time.Time, remove func(Orphan) bool, r *Orphaned) error {
	o := Orphan{ID: id}
	for _, f := range files {
		o.add(f)
	}
	if original != nil {
		o.add(*original)
	}
	if o.Objects == 0 {
		return nil
	}
	e, at, err := s.index.Look(id)
	if err != nil || e.Published || e.Deleting {
		return err
	}
	if _, ok := files[manifest.FileName]; ok {
		_, err := s.readWhole(ctx, id, files)
		if fault.CodeOf(err) == fault.Unavailable {
			return err
		}
		if err == nil {
			r.Sets++
			return nil
		}
	}
	if o.Newest.After(before) {
		r.Young++
		return nil
	}
	r.Orphans++
	r.Objects += o.Objects
	r.Bytes += o.Bytes
	if !remove(o) {
		return nil
	}
	unlock := s.locks.lock(id)
	err = s.index.Mark(id, at) // whoever is making the set makes it again
	unlock()
	if errors.Is(err, ErrChanged) {
		return nil
	}
	if err == nil {
		err = s.finishDeletion(id, map[string]bool{id: true})
	}
	if err == nil {
		r.Deleted++
	}
	return err
}
