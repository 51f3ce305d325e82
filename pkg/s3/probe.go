package s3

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// probePrefix is where Probe writes its object.
const probePrefix = ".optimizerd/probe-"

// Probe writes, reads, lists and deletes a small object, and returns an error that
// says what the store or the key lacks. With copies it also copies the object within
// the bucket. An error of class Unavailable says nothing about the store's
// capabilities.
func (b *Bucket) Probe(ctx context.Context, copies bool) (err error) {
	const content = "optimizerd"
	sum := sha256.Sum256([]byte(content))
	o := Object{
		Key: probePrefix + rand.Text(), Bytes: int64(len(content)), ContentType: "text/plain",
		CacheControl: "no-store", SHA256: hex.EncodeToString(sum[:]),
	}
	if _, _, err := b.PutNew(ctx, o, strings.NewReader(content)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Delete(context.WithoutCancel(ctx), o.Key)) }()
	if _, created, err := b.PutNew(ctx, o, strings.NewReader(content)); err != nil {
		return err
	} else if created {
		return unsupported("put", "storage.s3.endpoint: this store ignores If-None-Match: * and overwrites objects; R2, AWS S3 and versitygw do not")
	}
	body, there, err := b.Get(ctx, o.Key, 2, 4)
	if err != nil {
		return err
	}
	defer body.Close()
	part, err := io.ReadAll(body)
	switch {
	case err != nil:
		return disconnected("get", o.Key, err)
	case string(part) != content[2:6]:
		return unsupported("get", fmt.Sprintf("storage.s3.endpoint: this store answered a range request with %.20q, not the range", part))
	case there.SHA256 != o.SHA256:
		return unsupported("get", "storage.s3.endpoint: this store does not return object metadata (x-amz-meta-…)")
	}
	found := false
	for listed, err := range b.List(ctx, o.Key) {
		if err != nil {
			return err
		}
		found = found || listed.Key == o.Key
	}
	if !found {
		return unsupported("list", "storage.s3.endpoint: this store does not list an object that was just written")
	}
	if copies {
		return b.probeCopy(ctx, o.Key)
	}
	return nil
}

func (b *Bucket) probeCopy(ctx context.Context, key string) error {
	to := key + "-copy"
	err := b.Copy(ctx, key, to)
	if err != nil && !Is(err, Unavailable) && !Is(err, Denied) {
		return unsupported("copy", "storage.keep_originals: this store does not copy objects")
	}
	return errors.Join(err, b.Delete(context.WithoutCancel(ctx), to))
}

func unsupported(operation, text string) *Error {
	return &Error{Class: Unsupported, Operation: operation, cause: errors.New(text)}
}
