package publish

import (
	"context"
	"fmt"
	"maps"
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
	return recordIn(filepath.Join(s.config.Dir, parent), id)
}

// recordIn durably records a set as a variant of the image whose directory is dir.
func recordIn(dir, id string) error {
	records := filepath.Join(dir, catalog.VariantsDir)
	if _, err := os.Stat(filepath.Join(records, id)); err == nil {
		return nil
	}
	if err := os.Mkdir(records, 0o755); err != nil && !os.IsExist(err) {
		return fmt.Errorf("record variant %s: %w", id, err)
	}
	if err := durable.Write(filepath.Join(records, id), nil); err != nil {
		return fmt.Errorf("record variant %s: %w", id, err)
	}
	if err := durable.SyncDir(dir); err != nil {
		return fmt.Errorf("record variant %s: %w", id, err)
	}
	return nil
}

// keepVariants durably records in a staged set the variants of an earlier set of the same
// image that was damaged: deleting the image must still find them. s.moves must be held.
func (s *Store) keepVariants(id, staged string) error {
	for _, old := range []string{filepath.Join(s.config.Dir, id), s.aside(id)} {
		variants, err := variantsIn(old)
		if err != nil {
			return fmt.Errorf("list variants of %s: %w", id, err)
		}
		for _, variant := range variants {
			if err := recordIn(staged, variant); err != nil {
				return err
			}
		}
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

// Variants returns the ids of the sets made on demand from an image.
func (s *Store) Variants(_ context.Context, id string) (ids []string, err error) {
	if ids, err = variantsIn(filepath.Join(s.config.Dir, id)); err != nil {
		return nil, fmt.Errorf("list variants of %s: %w", id, err)
	}
	return ids, nil
}

// variantsIn returns the ids that are recorded in the directory of an image.
func variantsIn(dir string) (ids []string, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, catalog.VariantsDir))
	if err != nil && !os.IsNotExist(err) { // most have none
		return nil, err
	}
	for _, e := range entries {
		if ladder.ValidID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// withVariants returns the ids of images and, transitively, of the sets made on
// demand from them, without duplicates. Images may be damaged and set aside.
func (s *Store) withVariants(ids []string) []string {
	all := make(map[string]bool)
	for rest := slices.Clone(ids); len(rest) > 0; rest = rest[1:] {
		id := rest[0]
		if all[id] || !ladder.ValidID(id) {
			continue
		}
		all[id] = true
		for _, dir := range []string{filepath.Join(s.config.Dir, id), s.aside(id)} {
			variants, _ := variantsIn(dir) // what cannot be read stays
			rest = append(rest, variants...)
		}
	}
	return slices.Sorted(maps.Keys(all))
}
