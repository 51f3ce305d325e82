package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// recordVariant records the set as a variant of parent, unless that is "". It
// returns ErrNoImage if the image is gone.
func (set *Set) recordVariant(parent string) error {
	if parent == "" {
		return nil
	}
	return set.store.RecordVariant(set.ctx, parent, set.id)
}

// RecordVariant durably records that a set was made on demand from an image. It returns
// ErrNoImage if the image is gone.
func (s *Store) RecordVariant(ctx context.Context, image, variant string) error {
	if err := s.checkParent(image); err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(variant))
	o := s3.Object{
		Key: recordKey(image, variant), Bytes: int64(len(variant)),
		ContentType: "text/plain", SHA256: hex.EncodeToString(digest[:]),
	}
	if _, err := s.putOrAdopt(ctx, o, strings.NewReader(variant)); err != nil {
		return fmt.Errorf("record variant %s: %w", variant, s.fault(err))
	}
	return nil
}

// Variants returns the ids of what was made on demand from an image.
func (s *Store) Variants(ctx context.Context, id string) (ids []string, err error) {
	for o, err := range s.bucket.List(ctx, recordKey(id, "")) {
		if err != nil {
			return nil, fmt.Errorf("list variants of %s: %w", id, s.fault(err))
		}
		if variant, ok := variantOf(id, o.Key); ok {
			ids = append(ids, variant)
		}
	}
	return ids, nil
}

// checkParent returns ErrNoImage if the image that a set is a variant of is gone.
func (s *Store) checkParent(parent string) error {
	e, _, err := s.index.Look(parent)
	if err != nil {
		return fmt.Errorf("look for %s: %w", parent, err)
	}
	if !e.Published {
		return catalog.ErrNoImage
	}
	return nil
}

// recordKey is the key of the object that records a variant of an image.
func recordKey(image, variant string) string {
	return image + "/" + catalog.VariantsDir + "/" + variant
}

// variantOf returns the id of the variant that an object below an image's folder
// records.
func variantOf(image, key string) (id string, ok bool) {
	id, ok = strings.CutPrefix(key, recordKey(image, ""))
	return id, ok && ladder.ValidID(id)
}
