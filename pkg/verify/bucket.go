package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// Bucket says what to check of a bucket.
type Bucket struct {
	Objects *s3.Bucket
	Quick   bool // names and sizes alone: no image is read
	Report  func(Problem)
	// Indexed returns the ids of the sets that the local index has; nil if there is none.
	Indexed func() ([]string, error)
}

// setsAtOnce is the number of sets in a bucket that are read at once.
const setsAtOnce = 4

// RunBucket is Run for the sets in a bucket. It repairs nothing. Files under the id of
// an image without a manifest are harmless: the set is being made, or its writer died
// and the next one adopts them. An error means that the store failed.
func RunBucket(ctx context.Context, b Bucket) (Totals, error) {
	if b.Indexed == nil {
		b.Indexed = func() ([]string, error) { return nil, nil }
	}
	indexed, err := b.Indexed() // before the bucket is listed: a set is stored, and then indexed
	if err != nil {
		return Totals{}, err
	}
	kept, err := bucket.ListOriginals(ctx, b.Objects)
	if err != nil {
		return Totals{}, err
	}
	k := &bucketChecker{
		checker:   checker{Config: Config{Quick: b.Quick, Report: b.Report}, known: make(map[string]bool)},
		objects:   b.Objects,
		originals: kept,
	}
	if err := k.sets(ctx); err != nil {
		return k.totals, err
	}
	if err := k.lost(ctx, indexed, b.Indexed); err != nil {
		return k.totals, err
	}
	for id := range k.originals {
		if ladder.ValidID(id) && !k.known[id] {
			k.report(Problem{Kind: OrphanedOriginal, ID: id})
		}
	}
	return k.totals, nil
}

type bucketChecker struct {
	checker

	objects   *s3.Bucket
	originals map[string]s3.Object // by the ids of their images
}

// files are those under the id of an image, by name.
type files map[string]s3.Object

// sets checks every set.
func (k *bucketChecker) sets(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(setsAtOnce)
	for set, err := range bucket.List(ctx, k.objects) {
		group.Go(func() error {
			if err != nil {
				return err
			}
			return k.set(ctx, set.ID, set.Files)
		})
	}
	return group.Wait()
}

// lost reports the sets that the index has and the bucket does not.
func (k *bucketChecker) lost(ctx context.Context, indexed []string, again func() ([]string, error)) error {
	indexed = slices.DeleteFunc(indexed, func(id string) bool { return k.known[id] })
	if len(indexed) == 0 {
		return nil
	}
	still, err := again()
	if err != nil {
		return err
	}
	for _, id := range indexed {
		if _, kept := slices.BinarySearch(still, id); !kept {
			continue // deleted meanwhile
		}
		_, err := k.objects.Head(ctx, id+"/"+manifest.FileName)
		if s3.Is(err, s3.NotFound) {
			k.damaged(Problem{Kind: NoManifest, ID: id, Detail: "the index has this set, and the bucket does not; is storage.s3.bucket the right one? 'optimizerd rebuild' makes the index again"})
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// set checks one set and its original.
func (k *bucketChecker) set(ctx context.Context, id string, found files) error {
	if _, ok := found[manifest.FileName]; !ok {
		k.report(Problem{Kind: UnknownFile, ID: id, Detail: "no manifest"})
		return nil
	}
	m, err := bucket.FetchManifest(ctx, k.objects, id)
	if errors.Is(err, bucket.ErrDamaged) {
		k.damaged(Problem{Kind: DamagedManifest, ID: id, File: manifest.FileName, Detail: err.Error()})
		return nil
	}
	if err != nil {
		return ignoreMissing(err)
	}
	k.count(func(t *Totals) { t.Sets++ })
	k.mu.Lock()
	k.known[id] = true
	k.mu.Unlock()
	if sound, err := k.files(ctx, m, found); !sound || err != nil {
		return err
	}
	return k.original(ctx, m)
}

// files checks the files of a set, and reports whether all are sound.
func (k *bucketChecker) files(ctx context.Context, m manifest.Manifest, found files) (sound bool, err error) {
	for _, v := range m.Variants {
		kind, detail, err := k.file(ctx, v, found)
		if err != nil {
			return false, ignoreMissing(err)
		}
		if kind == "" {
			continue
		}
		if _, err := k.objects.Head(ctx, m.ID+"/"+manifest.FileName); err != nil {
			return false, ignoreMissing(err)
		}
		k.damaged(Problem{Kind: kind, ID: m.ID, File: v.Name(), Detail: detail})
		return false, nil
	}
	for name := range found {
		if _, ok := m.Variant(name); !ok && name != manifest.FileName && !strings.HasPrefix(name, catalog.VariantsDir+"/") {
			k.report(Problem{Kind: UnknownFile, ID: m.ID, File: name})
		}
	}
	return true, nil
}

// file compares an object with what the manifest says of it. kind is "" if it is
// sound.
func (k *bucketChecker) file(ctx context.Context, v manifest.Variant, found files) (kind Kind, detail string, err error) {
	o, ok := found[v.Name()]
	if !ok {
		return MissingFile, "", nil
	}
	k.count(func(t *Totals) { t.Files++ })
	if detail, err = k.compare(ctx, v.Key, o.Bytes, v.Bytes, v.SHA256); detail != "" {
		kind = DamagedFile
	}
	return kind, detail, err
}

// ignoreMissing returns nil for an object that was deleted meanwhile.
func ignoreMissing(err error) error {
	if s3.Is(err, s3.NotFound) {
		return nil
	}
	return err
}

// damaged reports a problem of a set.
func (k *bucketChecker) damaged(p Problem) {
	if _, ok := k.originals[p.ID]; ok {
		p.Original = bucket.Originals + p.ID
	}
	k.mu.Lock()
	k.known[p.ID] = true
	k.mu.Unlock()
	k.report(p)
}

// compare returns what is wrong with an object, "" if it is sound.
func (k *bucketChecker) compare(ctx context.Context, key string, bytes, want int64, digest string) (detail string, err error) {
	if bytes != want {
		return fmt.Sprintf("%d bytes, want %d", bytes, want), nil
	}
	if k.Quick {
		return "", nil
	}
	body, _, err := k.objects.Get(ctx, key, 0, -1)
	if err != nil {
		return "", err
	}
	defer body.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, body)
	k.count(func(t *Totals) { t.Bytes += n })
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != digest {
		return "SHA-256 is " + got + ", want " + digest, nil
	}
	return "", nil
}

// original checks the original of a set, if one is kept.
func (k *bucketChecker) original(ctx context.Context, m manifest.Manifest) error {
	o, ok := k.originals[m.ID]
	if !ok {
		return nil
	}
	k.count(func(t *Totals) { t.Originals++ })
	detail, err := k.compare(ctx, bucket.Originals+m.ID, o.Bytes, m.Source.Bytes, m.Source.SHA256)
	if detail != "" {
		k.report(Problem{Kind: DamagedOriginal, ID: m.ID, Detail: detail})
	}
	return ignoreMissing(err)
}
