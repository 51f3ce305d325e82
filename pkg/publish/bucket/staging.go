package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Set is a set that waits in the spool for its Commit. No part of an image that
// fails to render reaches the store.
type Set struct {
	ctx      context.Context
	store    *Store
	id       string
	files    map[string]*spool.Scratch // by name
	variants []manifest.Variant
	timings  ladder.Timings // hash, write and, after Commit, sync
}

// Begin creates a set. ctx bounds its Commit.
func (s *Store) Begin(ctx context.Context, id string) (render.Set, error) {
	return &Set{ctx: ctx, store: s, id: id, files: make(map[string]*spool.Scratch), timings: make(ladder.Timings)}, nil
}

// Timings returns how long writing and hashing took, and, after Commit, storing.
func (set *Set) Timings() ladder.Timings { return set.timings }

// Variants returns the descriptions of the variants staged so far.
func (set *Set) Variants() []manifest.Variant { return set.variants }

// Variant stages one variant from body, which must contain exactly v.Bytes.
func (set *Set) Variant(v ladder.Variant, body io.Reader) error {
	hash := sha256.New()
	began := time.Now()
	hashed := set.timings.Writer(ladder.StageHash, hash)
	file, err := set.store.spool.Scratch(io.TeeReader(body, hashed), v.Bytes)
	if err != nil {
		return render.NotStaged(v, set.variants, err)
	}
	set.timings.Since(began, ladder.StageWrite)
	set.files[v.Name()] = file
	set.store.log.Debug("variant staged", zap.String("image_id", set.id), zap.String("file", v.Name()))
	set.variants = append(set.variants, manifest.NewVariant(set.id, v, hex.EncodeToString(hash.Sum(nil))))
	return nil
}

// Abort deletes what was staged.
func (set *Set) Abort() {
	for _, f := range set.files {
		f.Close()
	}
	set.files = nil
}

// Commit stores the files, several at once, then the manifest, and then the entry
// in the index. It returns the manifest that is stored.
func (set *Set) Commit(m manifest.Manifest, from render.Origin) (manifest.Manifest, error) {
	defer set.Abort() // what is staged takes memory
	if err := set.recordVariant(from.Parent); err != nil {
		return m, err
	}
	stored, err := set.commit(m, from.Path)
	if err != nil || from.Parent == "" {
		return stored, err
	}
	// Whoever deleted the image meanwhile may have looked for variants before.
	if err := set.store.checkParent(from.Parent); err != nil {
		return stored, errors.Join(err, set.store.Delete(set.id))
	}
	return stored, nil
}

// commit is Commit without the record of the variant. It holds no lock while a deletion
// is in progress: that may be one of this process.
func (set *Set) commit(m manifest.Manifest, original string) (manifest.Manifest, error) {
	began := time.Now()
	for {
		stored, err := set.tryCommit(m, original)
		switch {
		case errors.Is(err, ErrChanged):
			continue // deleted, or published by another process
		case !errors.Is(err, errDeleting):
			set.timings.Since(began, ladder.StageSync)
			return stored, err
		}
		if err := set.store.resume(set.id); err != nil {
			return m, fmt.Errorf("publish %s: %w", set.id, err)
		}
		select {
		case <-time.After(deletionPoll): // if another process deletes the objects
		case <-set.ctx.Done():
			return m, set.ctx.Err()
		}
	}
}

// errDeleting is the error of a commit while the objects of an earlier set are being
// deleted.
var errDeleting = errors.New("the set is being deleted")

func (set *Set) tryCommit(m manifest.Manifest, original string) (manifest.Manifest, error) {
	s := set.store
	defer s.locks.lock(set.id)()
	e, at, err := s.index.Look(set.id)
	switch {
	case err != nil:
		return m, fmt.Errorf("publish %s: %w", set.id, err)
	case e.Deleting:
		return m, errDeleting
	case !e.Published:
		return set.storeAll(m, original, at)
	}
	stored, err := s.ReadManifest(set.id)
	if !errors.Is(err, fs.ErrNotExist) {
		return stored, err
	}
	// It is being deleted, or its objects were deleted by hand.
	if err := s.index.Remove(set.id, at); err != nil && !errors.Is(err, ErrChanged) {
		return m, fmt.Errorf("publish %s: %w", set.id, err)
	}
	return m, ErrChanged
}

// deletionPoll is the polling interval for a deletion by another process.
const deletionPoll = 100 * time.Millisecond

// storeAll stores the objects of the set, the manifest last, and commits it.
func (set *Set) storeAll(m manifest.Manifest, original string, at Revision) (manifest.Manifest, error) {
	s := set.store
	m, err := set.storeFiles(m)
	if err == nil {
		m, err = s.storeManifest(set.ctx, m)
	}
	if err != nil {
		switch {
		case set.ctx.Err() != nil:
			return m, set.ctx.Err()
		case s3.Is(err, s3.NotFound):
			return m, errDeleting // by another process, since the write that found it
		}
		return m, fmt.Errorf("publish %s: %w", set.id, s.fault(err))
	}
	kept, err := s.storeOriginal(set.ctx, m, original)
	if err != nil {
		return m, fmt.Errorf("publish %s: %w", set.id, err)
	}
	adding := s.drops.watch(m.ID)
	if err := s.index.Commit(m, kept, at); err != nil {
		s.drops.end(adding, nil)
		return m, fmt.Errorf("publish %s: %w", set.id, err)
	}
	s.log.Debug("published", zap.String("image_id", m.ID))
	s.drops.end(adding, func() { s.Add(m, kept) })
	return m, nil
}

// storeFiles stores the variants. It returns the manifest with the digests and
// sizes of what is stored.
func (set *Set) storeFiles(m manifest.Manifest) (manifest.Manifest, error) {
	m.Variants = slices.Clone(m.Variants)
	group, ctx := errgroup.WithContext(set.ctx)
	group.SetLimit(atOnce)
	for i := range m.Variants {
		v := &m.Variants[i]
		file, ok := set.files[v.Name()]
		if !ok {
			return m, errors.Join(fmt.Errorf("%s was not staged", v.Name()), group.Wait())
		}
		group.Go(func() error {
			o, err := set.store.putOrAdopt(ctx, s3.Object{
				Key: v.Key, Bytes: v.Bytes, ContentType: v.ContentType, CacheControl: cacheControl, SHA256: v.SHA256,
			}, file)
			if err != nil {
				return err
			}
			v.Bytes, v.SHA256 = o.Bytes, o.SHA256
			set.store.log.Debug("variant stored", zap.String("image_id", set.id), zap.String("file", v.Name()))
			return nil
		})
	}
	return m, group.Wait()
}

// Adopted returns how many files were already in the store when this process tried to
// store them.
func (s *Store) Adopted() int64 { return s.adopted.Load() }

// putOrAdopt stores an object, unless there is one already, and describes the
// stored one.
func (s *Store) putOrAdopt(ctx context.Context, o s3.Object, body io.ReaderAt) (s3.Object, error) {
	there, created, err := s.bucket.PutNew(ctx, o, body)
	if created || err != nil {
		return o, err
	}
	s.adopted.Add(1)
	if there.SHA256 == "" { // written by somebody else: the Worker's pull
		if there.SHA256, err = s.hash(ctx, o.Key, there.Bytes); err != nil {
			return o, err
		}
	}
	if there.SHA256 != o.SHA256 {
		s.log.Info("kept the object that another process stored", zap.String("key", o.Key))
	}
	return there, nil
}

// hash returns the digest of an object of n bytes.
func (s *Store) hash(ctx context.Context, key string, n int64) (string, error) {
	hash := sha256.New()
	c := content{ctx: ctx, store: s, key: key, size: n}
	defer c.Close()
	if _, err := io.Copy(hash, &c); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// storeManifest stores the manifest, which publishes the set. If another process has
// stored one that describes what is stored, that counts.
func (s *Store) storeManifest(ctx context.Context, m manifest.Manifest) (manifest.Manifest, error) {
	b, err := m.Encode()
	if err != nil {
		return m, err
	}
	sum := sha256.Sum256(b)
	o := s3.Object{
		Key: m.ID + "/" + manifest.FileName, Bytes: int64(len(b)), ContentType: "application/json",
		CacheControl: cacheControl, SHA256: hex.EncodeToString(sum[:]),
	}
	for {
		_, created, err := s.bucket.PutNew(ctx, o, bytes.NewReader(b))
		if created {
			s.log.Debug("manifest stored", zap.String("image_id", m.ID))
		}
		if created || err != nil {
			return m, err
		}
		there, etag, err := fetchManifest(ctx, s.bucket, m.ID)
		matches := false
		if err == nil {
			matches, err = s.matches(ctx, there, m)
		}
		if matches || err != nil && !errors.Is(err, ErrDamaged) {
			return there, err
		}
		// It describes files that were lost, and made again with other bytes.
		s.log.Warn("replacing a manifest that does not match the stored files", zap.String("image_id", m.ID), zap.Error(err))
		replaced := s.bucket.Replace(ctx, o, bytes.NewReader(b), etag)
		switch {
		case s3.Is(replaced, s3.Exists), s3.Is(replaced, s3.NotFound): // by another process, or it has deleted it
		case s3.Is(replaced, s3.Refused): // a store without If-Match
			s.log.Error("cannot replace a manifest", zap.String("image_id", m.ID), zap.Error(replaced))
			return there, err
		default:
			return m, replaced
		}
	}
}

// matches reports whether a manifest in the bucket describes what is stored. made
// does, and may have other files.
func (s *Store) matches(ctx context.Context, there, made manifest.Manifest) (bool, error) {
	for _, v := range there.Variants {
		if known, ok := made.Variant(v.Name()); ok {
			if known.Bytes != v.Bytes || known.SHA256 != v.SHA256 {
				return false, nil
			}
			continue
		}
		o, err := s.bucket.Head(ctx, v.Key)
		switch {
		case s3.Is(err, s3.NotFound):
			return false, nil
		case err != nil:
			return false, err
		case o.Bytes != v.Bytes || o.SHA256 != "" && o.SHA256 != v.SHA256:
			return false, nil
		}
	}
	return true, nil
}

// maxManifest bounds a manifest, bytes.
const maxManifest = 1 << 20

// ErrDamaged is the error of a manifest that was read but does not belong to
// its set.
var ErrDamaged = errors.New("damaged manifest")

// FetchManifest reads the manifest of a set in a bucket. Its error is ErrDamaged, or one
// of the store: an *s3.Error, or why reading broke off.
func FetchManifest(ctx context.Context, objects *s3.Bucket, id string) (manifest.Manifest, error) {
	m, _, err := fetchManifest(ctx, objects, id)
	return m, err
}

// fetchManifest is FetchManifest, and returns the ETag of the object, also if the
// manifest is damaged.
func fetchManifest(ctx context.Context, objects *s3.Bucket, id string) (m manifest.Manifest, etag string, err error) {
	body, o, err := objects.Get(ctx, id+"/"+manifest.FileName, 0, -1)
	if err != nil {
		return m, "", err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxManifest))
	if err != nil {
		return m, o.ETag, fmt.Errorf("%w: %w", errBrokenOff, err)
	}
	if m, err = manifest.Decode(b); err != nil {
		return m, o.ETag, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if m.ID != id {
		return m, o.ETag, fmt.Errorf("%w: it is that of %s", ErrDamaged, m.ID)
	}
	return m, o.ETag, nil
}
