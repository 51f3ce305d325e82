package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// Rebuilt counts what Rebuild found.
type Rebuilt struct {
	Sets    int `json:"sets"`    // complete sets in the bucket
	Added   int `json:"added"`   // of them, those that the index lacked
	Removed int `json:"removed"` // entries of the index without a complete set
	Damaged int `json:"damaged"` // manifests that cannot be read, or whose files are missing
}

// Rebuild recreates the index from the bucket: it adds each set whose manifest and
// files all exist. It writes nothing to the bucket except to finish deletions.
// progress is called after each set. Other processes may use the index meanwhile;
// their changes win. Sets in a shared index are not read again, so an interrupted
// rebuild resumes.
func (s *Store) Rebuild(ctx context.Context, progress func(sets int)) (r Rebuilt, err error) {
	if err := s.FinishDeletions(ctx); err != nil {
		return r, err
	}
	kept, err := ListOriginals(ctx, s.bucket)
	if err != nil {
		return r, s.fault(err)
	}
	found, damaged := make(map[string]bool), make(map[string]bool)
	take := func(id string, files map[string]s3.Object) error {
		if _, ok := files[manifest.FileName]; !ok {
			return nil // not a set: being made, or somebody else's
		}
		there, added, err := s.restore(ctx, id, files, kept[id].Bytes)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case fault.CodeOf(err) == fault.Unavailable:
			return err
		case err != nil:
			s.log.Error("damaged set in the bucket", zap.String("image_id", id), zap.Error(err))
			damaged[id] = true
			return nil
		case !there:
			return nil
		}
		r.Sets++
		if added {
			r.Added++
		}
		found[id] = true
		progress(r.Sets)
		return nil
	}
	before := s.IDs()
	if err := s.eachSet(ctx, take); err != nil {
		return r, err
	}
	r.Damaged = len(damaged)
	for _, id := range before {
		if found[id] {
			continue
		}
		removed, err := s.removeLost(ctx, id, damaged[id])
		if err != nil {
			return r, err
		}
		if removed {
			r.Removed++
		}
	}
	return r, nil
}

// ListOriginals returns the originals in a bucket by the ids of their images.
func ListOriginals(ctx context.Context, objects *s3.Bucket) (map[string]s3.Object, error) {
	kept := make(map[string]s3.Object)
	for o, err := range objects.List(ctx, Originals) {
		if err != nil {
			return nil, err
		}
		kept[strings.TrimPrefix(o.Key, Originals)] = o
	}
	return kept, nil
}

// Listed is what a bucket has under the id of an image.
type Listed struct {
	ID    string
	Files map[string]s3.Object // by name
}

// List returns what a bucket has under each image id. An error is the last element;
// the id whose objects were not all listed by then is left out.
func List(ctx context.Context, objects *s3.Bucket) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		var set Listed
		for o, err := range objects.List(ctx, "") { // in the order of keys, so a set's files follow one another
			if err != nil {
				yield(Listed{}, err)
				return
			}
			id, name, _ := strings.Cut(o.Key, "/")
			if !ladder.ValidID(id) {
				continue
			}
			if id != set.ID {
				if set.ID != "" && !yield(set, nil) {
					return
				}
				set = Listed{id, make(map[string]s3.Object)}
			}
			set.Files[name] = o
		}
		if set.ID != "" {
			yield(set, nil)
		}
	}
}

// eachSet calls take with the objects under each image id in the bucket, by name.
func (s *Store) eachSet(ctx context.Context, take func(id string, files map[string]s3.Object) error) error {
	for set, err := range List(ctx, s.bucket) {
		if err != nil {
			return s.fault(err)
		}
		if err := take(set.ID, set.Files); err != nil {
			return err
		}
	}
	return nil
}

// restore writes the entry of a set whose files are in the bucket, unless a shared
// index has it. there is false if the set was deleted, or is being deleted or
// published by another process.
func (s *Store) restore(ctx context.Context, id string, files map[string]s3.Object, original int64) (there, added bool, err error) {
	e, at, err := s.index.Look(id) // first: what is deleted from now on changes the revision
	if err != nil || e.Deleting {
		return false, false, err
	}
	if e.Published && e.Manifest == nil {
		return true, false, nil
	}
	m, err := s.readWhole(ctx, id, files)
	if s3.Is(err, s3.NotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	err = s.index.Commit(m, original, at)
	if errors.Is(err, ErrChanged) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	s.Add(m, original)
	return true, !e.Published, nil
}

// readWhole returns the manifest of a set whose files are all in the bucket.
func (s *Store) readWhole(ctx context.Context, id string, files map[string]s3.Object) (manifest.Manifest, error) {
	m, err := FetchManifest(ctx, s.bucket, id)
	if err != nil {
		if !s3.Is(err, s3.NotFound) {
			err = s.fault(err)
		}
		return m, err
	}
	for _, v := range m.Variants {
		if o, ok := files[v.Name()]; !ok || o.Bytes != v.Bytes {
			return m, fmt.Errorf("%s has %d bytes, the manifest says %d", v.Key, o.Bytes, v.Bytes)
		}
	}
	return m, nil
}

// removeLost removes the entry of a set that is not in the bucket, or is damaged
// there.
func (s *Store) removeLost(ctx context.Context, id string, damaged bool) (removed bool, err error) {
	defer s.locks.lock(id)()
	e, at, err := s.index.Look(id)
	if err != nil || !e.Published {
		return false, err
	}
	if !damaged {
		_, err = s.bucket.Head(ctx, id+"/"+manifest.FileName)
		if !s3.Is(err, s3.NotFound) {
			return false, s.fault(err) // nil: it was published meanwhile
		}
	}
	if err := s.index.Remove(id, at); err != nil {
		if errors.Is(err, ErrChanged) {
			err = nil
		}
		return false, err
	}
	s.Drop(id)
	return true, nil
}
