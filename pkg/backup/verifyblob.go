package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
)

// finding is what is wrong with a blob; its zero value is a sound one.
type finding struct {
	kind     Kind
	detail   string
	aside    bool
	vanished bool // it was in the list of blobs
}

// checkFile checks one file, and reports what is wrong with it.
func (v *verifier) checkFile(ctx context.Context, p Problem, bytes int64, in period) error {
	f, err := v.blob(ctx, p.Blob, bytes, nil)
	if err != nil || f.kind == "" {
		return err
	}
	p.Kind, p.Detail, p.SetAside = f.kind, f.detail, f.aside
	return v.report(ctx, p, in, f.vanished)
}

// manifest reads the manifest that a reference names. ok is false if it is damaged, which
// is reported.
func (v *verifier) manifest(ctx context.Context, r *reference) (m manifest.Manifest, ok bool, err error) {
	var content bytes.Buffer
	p := Problem{File: r.path, Image: imageOf(r.path), Blob: r.sha256()}
	f, err := v.blob(ctx, p.Blob, r.bytes, &content)
	if err != nil {
		return m, false, err
	}
	if f.kind == "" {
		if m, err = decodeManifest(r.path, content.Bytes()); err == nil {
			return m, true, nil
		}
		f = finding{kind: DamagedManifest, detail: err.Error()}
	}
	p.Kind, p.Detail, p.SetAside = f.kind, f.detail, f.aside
	return m, false, v.report(ctx, p, r.in, f.vanished)
}

// blob checks a blob. Its content is written to content, if that is not nil; otherwise it
// is read only once, and not at all in a quick check.
func (v *verifier) blob(ctx context.Context, digest string, bytes int64, content *bytes.Buffer) (f finding, err error) {
	b := v.stored.find(digest)
	if b == nil {
		return finding{kind: MissingFile}, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for b.state() == beingRead {
		v.read.Wait()
	}
	switch b.state() {
	case damaged:
		return v.bad[b], nil
	case sound:
		if content == nil {
			return finding{}, nil
		}
	default:
		v.totals.Files++
	}
	b.setState(beingRead)
	v.mu.Unlock()
	switch {
	case b.bytes() != bytes:
		f = finding{kind: DamagedFile, detail: fmt.Sprintf("%d bytes, want %d", b.bytes(), bytes)}
	case !v.Quick || content != nil:
		f, err = v.readBlob(ctx, v.store, digest, content)
	}
	if err == nil && f.kind == DamagedFile && v.Repair != nil {
		f, err = v.setAside(ctx, digest, f, content)
	}
	v.mu.Lock()
	switch {
	case err != nil:
		b.setState(unread)
	case f.kind == "":
		b.setState(sound)
	default:
		b.setState(damaged)
		v.bad[b] = f
	}
	v.read.Broadcast()
	return f, err
}

// retry calls read again after an error of the store, such as a connection that breaks.
func retry(ctx context.Context, read func() error) (err error) {
	for range readAttempts {
		if err = read(); err == nil || ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) || isOfFile(err) {
			break
		}
	}
	return err
}

// readBlob reads a blob and compares it with its digest. An error is one of the store.
func (v *verifier) readBlob(ctx context.Context, store Store, digest string, content *bytes.Buffer) (f finding, err error) {
	var got string
	err = retry(ctx, func() (err error) {
		got, err = v.digestOfBlob(ctx, store, digest, content)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return f, ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return finding{kind: MissingFile, vanished: true}, nil
	case isOfFile(err):
		return finding{kind: DamagedFile.orUnreadable(err), detail: err.Error()}, nil
	case err != nil:
		return f, fmt.Errorf("read %s: %w", blobsDir+"/"+digest, err)
	case got != digest:
		return finding{kind: DamagedFile, detail: "its SHA-256 is " + got}, nil
	default:
		return f, nil
	}
}

// digestOfBlob returns the SHA-256 of a blob's content.
func (v *verifier) digestOfBlob(ctx context.Context, store Store, digest string, content *bytes.Buffer) (string, error) {
	r, err := store.Get(ctx, digest)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	to := io.Writer(hash)
	if content != nil {
		content.Reset()
		to = io.MultiWriter(hash, content)
	}
	n, err := io.Copy(to, &contextReader{ctx, r})
	v.mu.Lock()
	v.totals.Bytes += n
	v.mu.Unlock()
	return hex.EncodeToString(hash.Sum(nil)), errors.Join(err, r.Close())
}

// contextReader is a reader whose reads fail once ctx has ended.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// isOfFile reports whether an error is about one file in a directory. Another one is about
// the store, so that the check cannot go on.
func isOfFile(err error) bool {
	var e *fs.PathError
	return errors.As(err, &e)
}

// orUnreadable returns the kind of damage that an error of reading a file shows.
func (k Kind) orUnreadable(err error) Kind {
	if publish.Lost(err) {
		return k
	}
	return Unreadable
}

// setAside sets a damaged blob aside. First it reads the blob again, now that no backup
// can write to the store: it may have been replaced, or the fault may be in this machine's
// memory. The result is what is wrong with the blob now.
func (v *verifier) setAside(ctx context.Context, digest string, f finding, content *bytes.Buffer) (finding, error) {
	failed := func(err error) (finding, error) {
		f.detail += "; it cannot be set aside: " + err.Error()
		return f, ctx.Err()
	}
	v.repair.Lock()
	defer v.repair.Unlock()
	store, err := v.Repair()
	if err != nil {
		return failed(err)
	}
	defer func() { _ = store.Close() }() // what it wrote is durable
	again, err := v.readBlob(ctx, store, digest, content)
	if err != nil {
		return failed(err)
	}
	if again.kind != DamagedFile {
		return again, nil
	}
	if err := store.SetAside(ctx, digest); err != nil {
		return failed(err)
	}
	f.aside = true
	v.mu.Lock()
	v.totals.SetAside++
	v.mu.Unlock()
	return f, nil
}
