// Package fetch downloads the sources of jobs by URL into the spool. It retries
// temporary failures; the code of a fault says whether the URL, the origin or the
// network caused it.
package fetch

import (
	"context"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

const (
	maxAttempts   = 3
	firstWait     = 500 * time.Millisecond // before the second attempt; each later wait is longer
	maxRetryAfter = 10 * time.Second       // the longest Retry-After that is honored
	maxRedirects  = 5
)

// accept omits WebP and AVIF: a CDN that sees them would send a lossy copy of
// the original.
const accept = "image/jpeg, image/png, image/tiff, image/gif, image/*;q=0.8"

// Fetcher downloads sources into the spool.
type Fetcher struct {
	config Config
	spool  *spool.Spool
	client *http.Client
	wait   time.Duration
}

// New returns a fetcher with the rules of its settings.
func New(config Config, spool *spool.Spool) *Fetcher {
	return &Fetcher{config, spool, egress.NewClient(config.Rules(), maxRedirects), firstWait}
}

// Close closes idle connections.
func (f *Fetcher) Close() { f.client.CloseIdleConnections() }

// Fetch downloads a URL into the spool. Temporary failures are retried, and
// returned as InputUnavailable if they persist. If ctx ends, its error is
// returned.
func (f *Fetcher) Fetch(ctx context.Context, rawURL string) (*spool.Upload, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, http.NoBody)
	if err != nil {
		return nil, fault.New(fault.InputForbidden, "The URL is not valid.") // the parse error would quote the query
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("Accept-Encoding", "identity") // an image is already compressed
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.Multiplier = f.wait, 3
	upload, err := backoff.Retry(ctx, func() (*spool.Upload, error) {
		upload, err := f.attempt(request)
		if err != nil && fault.CodeOf(err) != fault.InputUnavailable {
			return nil, backoff.Permanent(err)
		}
		return upload, err
	}, backoff.WithBackOff(waits), backoff.WithMaxTries(maxAttempts), backoff.WithMaxElapsedTime(0))
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return upload, err
}

func (f *Fetcher) attempt(request *http.Request) (*spool.Upload, error) {
	ctx, cancel := context.WithTimeout(request.Context(), f.config.Timeout)
	defer cancel()
	response, err := f.client.Do(request.WithContext(ctx))
	if err != nil {
		return nil, requestFault(err)
	}
	defer response.Body.Close()
	if err := checkStatus(response); err != nil {
		return nil, err
	}
	if err := f.spool.Check(response.ContentLength, 0); err != nil {
		return nil, err
	}
	content, err := decoded(response)
	if err != nil {
		return nil, err
	}
	upload, err := f.spool.Receive(content, job.CleanFilename(request.URL.Path))
	switch fault.CodeOf(err) {
	case fault.InvalidRequest: // an empty upload is the client's fault
		return nil, fault.Wrap(fault.InputRefused, err, "The origin sent an empty body.")
	case fault.UnsupportedFormat:
		return nil, fault.Wrap(fault.UnsupportedFormat, err,
			"The origin did not send a JPEG, PNG, WebP, GIF, HEIC, AVIF or TIFF image; check that the URL leads to the image itself and not to a web page.")
	}
	return upload, err
}
