package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/durable"
)

// Delete deletes a set, or its copy that was set aside, and the variants made on
// demand from the image; an unknown id is not an error.
func (s *Store) Delete(id string) error { return s.DeleteAll(context.Background(), []string{id}) }

// DeleteAll is Delete for several sets. It takes little time, so it does not stop at the
// end of the context.
func (s *Store) DeleteAll(_ context.Context, ids []string) error {
	trash, err := s.unpublish(ids...)
	if err = errors.Join(err, os.RemoveAll(trash)); err != nil {
		return fmt.Errorf("delete images: %w", err)
	}
	return nil
}

// unpublish removes sets and their originals from view; trash contains what
// remains to be deleted. A batch is cheaper than single calls: the
// directories are synced once.
func (s *Store) unpublish(ids ...string) (trash string, err error) {
	s.moves.Lock()
	defer s.moves.Unlock()
	ids = slices.DeleteFunc(s.withVariants(ids), func(id string) bool { return !s.Has(id) && !s.isAside(id) })
	if len(ids) == 0 {
		return "", nil
	}
	trash, err = os.MkdirTemp(filepath.Join(s.config.Dir, stagingDir), "trash-")
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		for from, to := range map[string]string{filepath.Join(s.config.Dir, id): id, s.aside(id): "damaged-" + id} {
			if err := os.Rename(from, filepath.Join(trash, to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return trash, err
			}
		}
		s.Drop(id)
	}
	if err := errors.Join(durable.SyncDir(s.config.Dir), durable.SyncDir(trash)); err != nil {
		return trash, err
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.removeOriginal(id))
	}
	return trash, errors.Join(errs...)
}
