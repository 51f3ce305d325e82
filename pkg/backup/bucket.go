package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// bucket is a Store in the bucket of an object store, below a prefix.
type bucket struct {
	objects *s3.Bucket
	prefix  string // "" or with a slash at the end
}

// OpenBucket returns the store in a bucket, below a prefix.
func OpenBucket(objects *s3.Bucket, prefix string) Store {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return &bucket{objects, prefix}
}

func (b *bucket) Close() error {
	b.objects.Close()
	return nil
}

func (b *bucket) blob(digest string) string { return b.prefix + blobsDir + "/" + digest }

func (b *bucket) Blobs(ctx context.Context, f func(digest string, bytes int64)) error {
	for o, err := range b.objects.List(ctx, b.prefix+blobsDir+"/") {
		if err != nil {
			return err
		}
		if digest := path.Base(o.Key); manifest.ValidSHA256(digest) {
			f(digest, o.Bytes)
		}
	}
	return nil
}

// Put replaces an object that is cut: a store that was killed may have kept it.
func (b *bucket) Put(ctx context.Context, digest string, bytes int64, f *os.File) error {
	o := s3.Object{Key: b.blob(digest), Bytes: bytes, SHA256: digest}
	stored, created, err := b.objects.PutNew(ctx, o, f)
	if err != nil || created || stored.Bytes == bytes {
		return err
	}
	if err := b.objects.Delete(ctx, o.Key); err != nil {
		return err
	}
	_, _, err = b.objects.PutNew(ctx, o, f)
	return err
}

func (b *bucket) Get(ctx context.Context, digest string) (io.ReadCloser, error) {
	r, _, err := b.objects.Get(ctx, b.blob(digest), 0, -1)
	return r, missing(err)
}

// missing makes an error fs.ErrNotExist if it is of an object that does not exist.
func missing(err error) error {
	if s3.Is(err, s3.NotFound) {
		return &missingError{err}
	}
	return err
}

type missingError struct{ error }

func (e *missingError) Unwrap() error        { return e.error }
func (e *missingError) Is(target error) bool { return target == fs.ErrNotExist }

func (b *bucket) Delete(ctx context.Context, digest string) error {
	return b.objects.Delete(ctx, b.blob(digest))
}

// SetAside copies the object through this machine: its content is not what its name says,
// and PutNew needs its digest.
func (b *bucket) SetAside(ctx context.Context, digest string) (err error) {
	r, err := b.Get(ctx, digest)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.CreateTemp("", "optimizerd-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, hash), r)
	if err != nil {
		return err
	}
	aside := s3.Object{Key: b.prefix + damagedDir + "/" + digest, Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}
	if err := b.objects.Delete(ctx, aside.Key); err != nil { // an earlier one
		return err
	}
	if _, _, err := b.objects.PutNew(ctx, aside, f); err != nil {
		return err
	}
	return b.Delete(ctx, digest)
}

func (b *bucket) snapshot(name string) string {
	return b.prefix + snapshotsDir + "/" + name + snapshotExt
}

func (b *bucket) Snapshots(ctx context.Context) (names []string, err error) {
	for o, err := range b.objects.List(ctx, b.prefix+snapshotsDir+"/") {
		if err != nil {
			return nil, err
		}
		if name, ok := snapshotName(path.Base(o.Key)); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

func (b *bucket) PutSnapshot(ctx context.Context, name string, data []byte) error {
	_, _, err := b.objects.PutNew(ctx, s3.Object{Key: b.snapshot(name), Bytes: int64(len(data)), SHA256: digestOf(data), ContentType: "application/gzip"}, bytes.NewReader(data))
	return err
}

func (b *bucket) GetSnapshot(ctx context.Context, name string) ([]byte, error) {
	r, _, err := b.objects.Get(ctx, b.snapshot(name), 0, -1)
	if err != nil {
		return nil, missing(err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (b *bucket) DeleteSnapshot(ctx context.Context, name string) error {
	return b.objects.Delete(ctx, b.snapshot(name))
}
