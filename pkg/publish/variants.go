package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

// recordVariant durably records a set as a variant of an image, if it is one. It
// returns ErrNoImage if the image is gone. s.moves must be held.
func (s *Store) recordVariant(parent, id string) error {
	if parent == "" {
		return nil
	}
	if !s.Has(parent) {
		return catalog.ErrNoImage
	}
	dir := filepath.Join(s.config.Dir, parent, catalog.VariantsDir)
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return fmt.Errorf("record variant %s: %w", id, err)
	}
	if err := durable.Write(filepath.Join(dir, id), nil); err != nil {
		return fmt.Errorf("record variant %s: %w", id, err)
	}
	if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("record variant %s: %w", id, err)
	}
	return nil
}

// RecordVariant durably records that a set was made on demand from an image. It
// returns ErrNoImage if the image is gone.
func (s *Store) RecordVariant(_ context.Context, image, variant string) error {
	s.moves.Lock()
	defer s.moves.Unlock()
	return s.recordVariant(image, variant)
}

// Variants returns the ids of what was made on demand from an image.
func (s *Store) Variants(_ context.Context, id string) (ids []string, err error) {
	entries, err := os.ReadDir(filepath.Join(s.config.Dir, id, catalog.VariantsDir))
	if err != nil && !os.IsNotExist(err) { // most have none
		return nil, fmt.Errorf("list variants of %s: %w", id, err)
	}
	for _, e := range entries {
		if ladder.ValidID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// withVariants returns the ids of images and of what was made on demand from them,
// each once.
func (s *Store) withVariants(ids []string) []string {
	all := slices.Clone(ids)
	for _, id := range ids {
		variants, _ := s.Variants(context.Background(), id) // what cannot be read stays
		all = append(all, variants...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
