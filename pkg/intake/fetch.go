package intake

import (
	"context"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

const (
	maxAttempts   = 3
	firstWait     = 500 * time.Millisecond // before the second try; each later one is longer
	maxRetryAfter = 10 * time.Second       // the longest that an origin may have us wait
	maxRedirects  = 5
)

// accept names no WebP and no AVIF: a CDN that sees them makes a lossy copy of
// the original.
const accept = "image/jpeg, image/png, image/tiff, image/gif, image/*;q=0.8"

// Fetcher downloads sources into the spool.
type Fetcher struct {
	config FetchConfig
	spool  *Spool
	client *http.Client
	wait   time.Duration
}

// NewFetcher returns a fetcher that keeps to the rules in its settings.
func NewFetcher(config FetchConfig, spool *Spool) *Fetcher {
	return &Fetcher{config, spool, egress.NewClient(config.Rules(), maxRedirects), firstWait}
}

// Close ends the connections that were kept for the next download.
func (f *Fetcher) Close() { f.client.CloseIdleConnections() }

// Fetch downloads what is at a URL. What may pass is tried again, and comes
// back as InputUnavailable when it did not; if ctx ends, its error does.
func (f *Fetcher) Fetch(ctx context.Context, rawURL string) (*Upload, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, http.NoBody)
	if err != nil {
		return nil, fault.New(fault.InputForbidden, "The URL is not valid.") // its error would quote the query
	}
	request.Header.Set("Accept", accept)
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.Multiplier = f.wait, 3
	upload, err := backoff.Retry(ctx, func() (*Upload, error) {
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

func (f *Fetcher) attempt(request *http.Request) (*Upload, error) {
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
	if err := f.spool.CheckSize(response.ContentLength); err != nil {
		return nil, err
	}
	if err := f.spool.CheckSpace(response.ContentLength); err != nil {
		return nil, err
	}
	upload, err := f.spool.Receive(body{response.Body}, CleanFilename(request.URL.Path))
	if fault.CodeOf(err) == fault.InvalidRequest { // of an upload it is the client's fault
		return nil, fault.Wrap(fault.InputRefused, err, "The origin sent an empty body.")
	}
	return upload, err
}
