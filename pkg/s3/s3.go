// Package s3 stores objects in a bucket of an S3 store. It sends the few
// requests that it needs over net/http, and is the only importer of the AWS
// SDK's signer, which signs each with the digest of its body, so that the store
// verifies what it receives.
//
// Temporary failures are retried with exponential backoff and jitter. The Class
// of an error says whether the clock, the key, its permissions, the bucket or
// the connection is at fault.
package s3

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/cenkalti/backoff/v5"
)

// Limits of one operation.
const (
	maxAttempts = 4
	firstWait   = 300 * time.Millisecond // before the second attempt; each later wait is longer
	headerTime  = 30 * time.Second       // from the end of a request to the header of its response
	dialTime    = 10 * time.Second
	pingTime    = 10 * time.Second // without data from the store, until an HTTP/2 connection is probed, and until it counts as dead
	stallTime   = 30 * time.Second // longest pause within the body of a response
	minRate     = 16 << 10         // bytes per second that the body of a request must average, after baseTime
	baseTime    = time.Minute
)

// emptySHA256 is the digest of a request without a body.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Bucket is a bucket of a store. It is safe for concurrent use.
type Bucket struct {
	base   url.URL // of the bucket
	region string
	key    aws.Credentials
	signer *v4.Signer
	client *http.Client

	wait      time.Duration // firstWait, except in tests
	stallTime time.Duration // the constant, except in tests

	now     func() time.Time
	observe Observer
}

// Object describes a stored object.
type Object struct {
	Key          string
	Bytes        int64
	ContentType  string
	CacheControl string
	SHA256       string // lower-case hex, from the object's metadata; "" if it has none
	Modified     time.Time
	ETag         string // version of the content, for Replace; "" in listings
}

// metadata is the header of an object's digest.
const metadata = "X-Amz-Meta-Sha256"

// Observer is called for every response, and with status 0 for a request without
// one. took is the time to the header of the response.
type Observer func(operation string, status int, took time.Duration)

// Open returns the bucket of a valid configuration. It sends no request. observe
// may be nil.
func Open(c Config, key Key, observe Observer) (*Bucket, error) {
	if observe == nil {
		observe = func(string, int, time.Duration) {}
	}
	base, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("storage.s3.endpoint: %w", err)
	}
	base.Path = "/" + c.Bucket
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is documented to be one
	transport.DialContext = (&net.Dialer{Timeout: dialTime}).DialContext
	transport.MaxIdleConnsPerHost = 8
	// Otherwise all attempts use a connection that a router has forgotten, for a quarter of
	// an hour.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingTime, PingTimeout: pingTime}
	transport.ResponseHeaderTimeout = headerTime
	transport.DisableCompression = true // a range of a compressed body is not a range of the object
	return &Bucket{
		base: *base, region: c.Region, key: aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.secret},
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
		client: &http.Client{Transport: transport, CheckRedirect: noRedirects},
		wait:   firstWait, stallTime: stallTime, now: time.Now, observe: observe,
	}, nil
}

// noRedirects: a signature is for one host.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Close closes idle connections.
func (b *Bucket) Close() { b.client.CloseIdleConnections() }

// request is one operation on the store.
type request struct {
	operation string // for errors and metrics
	method    string
	key       string
	query     url.Values
	header    http.Header
	body      *io.SectionReader // nil for none
	sha256    string            // of the body, hex
}

// do sends a request until it succeeds, fails for good or has failed too often.
// The caller must close the body of the response.
func (b *Bucket) do(ctx context.Context, r request) (*http.Response, error) {
	waits := backoff.NewExponentialBackOff() // with 50 % jitter
	waits.InitialInterval, waits.Multiplier = b.wait, 3
	response, err := backoff.Retry(ctx, func() (*http.Response, error) { return b.attempt(ctx, r) },
		backoff.WithBackOff(waits), backoff.WithMaxTries(maxAttempts), backoff.WithMaxElapsedTime(0))
	return response, final(ctx, err)
}

// bodyTime is how long an attempt that sends n bytes may take.
func bodyTime(n int64) time.Duration { return baseTime + time.Duration(n/minRate)*time.Second }

// attemptContext returns the context of one attempt. Header and response
// body have their own limits: headerTime and stallTime.
func attemptContext(ctx context.Context, r request) (context.Context, context.CancelFunc) {
	if r.body == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, bodyTime(r.body.Size()))
}

func (b *Bucket) attempt(ctx context.Context, r request) (*http.Response, error) {
	ctx, cancel := attemptContext(ctx, r)
	began := time.Now()
	response, err := b.send(ctx, r)
	if err != nil {
		cancel()
		b.observe(r.operation, 0, time.Since(began))
		return nil, retryable(disconnected(r.operation, r.key, err), nil)
	}
	b.observe(r.operation, response.StatusCode, time.Since(began))
	response.Body = &body{ReadCloser: response.Body, cancel: cancel, stallTime: b.stallTime}
	if response.StatusCode >= 300 {
		defer response.Body.Close()
		return nil, retryable(refusal(r.operation, r.key, response), response.Header)
	}
	return response, nil
}

// body is the body of a response. The context of the request ends with it.
type body struct {
	io.ReadCloser
	cancel    context.CancelFunc // of the request
	stallTime time.Duration
	stalled   bool
}

// Read returns an error if the store sends nothing for stallTime. The time between two
// reads does not count: the reader may be a slow client.
func (b *body) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.stallTime, b.cancel)
	n, err := b.ReadCloser.Read(p)
	if !timer.Stop() {
		b.stalled = true
	}
	if b.stalled && err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("no data for %v: %w", b.stallTime, io.ErrUnexpectedEOF)
	}
	return n, err
}

func (b *body) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// send signs and sends a request once.
func (b *Bucket) send(ctx context.Context, r request) (*http.Response, error) {
	u := b.base
	if r.key != "" {
		u.Path += "/" + r.key
		u.RawPath = escapePath(u.Path)
	}
	u.RawQuery = r.query.Encode()
	var content io.Reader = http.NoBody
	digest := emptySHA256
	if r.body != nil && r.body.Size() > 0 {
		content, digest = io.NewSectionReader(r.body, 0, r.body.Size()), r.sha256 // each attempt has its own offset
	}
	request, err := http.NewRequestWithContext(ctx, r.method, u.String(), content)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		request.Header[name] = values
	}
	if r.body != nil {
		request.ContentLength = r.body.Size()
	}
	request.Header.Set("X-Amz-Content-Sha256", digest)
	if err := b.signer.SignHTTP(ctx, b.key, request, digest, "s3", b.region, b.now()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return b.client.Do(request)
}

// escapePath escapes a path as signatures do, which is more than URLs need.
func escapePath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	}
	return strings.Join(segments, "/")
}

// PutNew stores an object unless its key exists (a conditional write), and describes
// the stored one; created says whether it is new. The content is body, of o.Bytes and
// o.SHA256.
//
// An object that another process is writing may take the key before it is visible, and
// may have been deleted since, so PutNew retries. A store that was killed in the
// middle of a put may even leave the key taken forever, without an object
// (versitygw with --sidecar): after maxPause PutNew overwrites it.
func (b *Bucket) PutNew(ctx context.Context, o Object, body io.ReaderAt) (stored Object, created bool, err error) {
	for pause := firstPause; ; pause *= 2 {
		if err = b.put(ctx, o, body, http.Header{"If-None-Match": {"*"}}); !Is(err, Exists) {
			return o, err == nil, err
		}
		if stored, err = b.Head(ctx, o.Key); !Is(err, NotFound) {
			return stored, false, err
		}
		if pause > maxPause {
			err = b.put(ctx, o, body, http.Header{})
			return o, err == nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return o, false, ctx.Err()
		}
	}
}

// Replace stores an object in the place of the one with this ETag. Its error is of class
// Exists if that was changed meanwhile, and NotFound if it was deleted.
func (b *Bucket) Replace(ctx context.Context, o Object, body io.ReaderAt, etag string) error {
	return b.put(ctx, o, body, http.Header{"If-Match": {etag}})
}

// The first and the longest pause of PutNew.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

func (b *Bucket) put(ctx context.Context, o Object, body io.ReaderAt, header http.Header) error {
	header.Set(metadata, o.SHA256)
	if o.ContentType != "" {
		header.Set("Content-Type", o.ContentType)
	}
	if o.CacheControl != "" {
		header.Set("Cache-Control", o.CacheControl)
	}
	response, err := b.do(ctx, request{
		operation: "put", method: http.MethodPut, key: o.Key, header: header,
		body: io.NewSectionReader(body, 0, o.Bytes), sha256: o.SHA256,
	})
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// Head describes an object. Its error is of class NotFound if there is none.
func (b *Bucket) Head(ctx context.Context, key string) (Object, error) {
	response, err := b.do(ctx, request{operation: "head", method: http.MethodHead, key: key})
	if err != nil {
		return Object{}, err
	}
	defer response.Body.Close()
	return describe(key, response), nil
}

func describe(key string, response *http.Response) Object {
	o := Object{
		Key: key, Bytes: response.ContentLength,
		ContentType: response.Header.Get("Content-Type"), CacheControl: response.Header.Get("Cache-Control"),
		SHA256: response.Header.Get(metadata), ETag: response.Header.Get("ETag"),
	}
	if digest, err := hex.DecodeString(o.SHA256); err != nil || len(digest) != 32 {
		o.SHA256 = "" // someone else's metadata
	}
	o.Modified, _ = http.ParseTime(response.Header.Get("Last-Modified"))
	return o
}

// Get reads n bytes of an object from an offset; n < 0 reads all that follow. The
// body returns io.ErrUnexpectedEOF if it is cut short or stalls. The caller must close
// it.
func (b *Bucket) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, Object, error) {
	r := request{operation: "get", method: http.MethodGet, key: key, header: make(http.Header)}
	switch {
	case n >= 0:
		r.header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-"+strconv.FormatInt(offset+n-1, 10))
	case offset > 0:
		r.header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	response, err := b.do(ctx, r)
	if err != nil {
		return nil, Object{}, err
	}
	if r.header.Get("Range") != "" && response.StatusCode != http.StatusPartialContent {
		_ = response.Body.Close()
		return nil, Object{}, &Error{Class: Unsupported, Operation: "get", Key: key, Status: response.StatusCode, cause: errors.New("it ignores Range")}
	}
	return response.Body, describe(key, response), nil
}

// Copy copies an object within the bucket.
func (b *Bucket) Copy(ctx context.Context, from, to string) error {
	source := escapePath(b.base.Path + "/" + from)
	response, err := b.do(ctx, request{operation: "copy", method: http.MethodPut, key: to, header: http.Header{"X-Amz-Copy-Source": {source}}})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if e := refusal("copy", to, response); e.Code != "" { // a copy may fail after its status was sent
		return e
	}
	return nil
}

// Delete deletes an object; a missing one is not an error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	response, err := b.do(ctx, request{operation: "delete", method: http.MethodDelete, key: key})
	if Is(err, NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return response.Body.Close()
}
