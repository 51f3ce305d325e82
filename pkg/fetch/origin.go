package fetch

import (
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

// requestFault returns the fault of a request without a response.
func requestFault(err error) error {
	err = egress.WithoutURL(err)
	var (
		refused     *egress.Refused
		lookUp      *net.DNSError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &refused):
		return fault.Wrap(fault.InputForbidden, err, "%s", refused.Reason)
	case errors.Is(err, egress.ErrRedirects):
		return fault.Wrap(fault.InputRefused, err, "The origin redirected more than %d times.", maxRedirects)
	case errors.As(err, &lookUp):
		return fault.Wrap(fault.InputUnavailable, err, "The host name of the origin could not be resolved.")
	case errors.As(err, &certificate):
		return fault.Wrap(fault.InputUnavailable, err, "The certificate of the origin is not valid.")
	case isTimeout(err):
		return fault.Wrap(fault.InputUnavailable, err, "The origin timed out.")
	default:
		return fault.Wrap(fault.InputUnavailable, err, "The origin could not be reached.")
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// checkStatus returns a fault for every status except 200.
func checkStatus(response *http.Response) error {
	switch status := response.StatusCode; {
	case status == http.StatusOK:
		return nil
	case status == http.StatusNotFound, status == http.StatusGone:
		return fault.New(fault.InputNotFound, "The origin has nothing at this URL (status %d).", status)
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status >= 500 && status <= 599:
		later := fault.New(fault.InputUnavailable, "The origin is temporarily unavailable (status %d).", status)
		if wait := egress.RetryAfter(response.Header, time.Now()); wait > 0 && wait <= maxRetryAfter {
			return fmt.Errorf("%w: %w", later, &backoff.RetryAfterError{Duration: wait})
		}
		return later
	default:
		return fault.New(fault.InputRefused, "The origin refused the request (status %d).", status)
	}
}

// body returns read errors of a download as faults, to distinguish them from
// those of the spool.
type body struct{ io.Reader }

func (b body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	switch {
	case err == nil, err == io.EOF:
		return n, err
	case isTimeout(err):
		return n, fault.Wrap(fault.InputUnavailable, err, "The origin timed out.")
	default:
		return n, fault.Wrap(fault.InputUnavailable, err, "The origin closed the connection before the image was complete.")
	}
}

// decoded is the body of a response without its content coding: some origins
// compress even if the request excludes it. The spool limits the decoded size.
func decoded(response *http.Response) (io.Reader, error) {
	raw := body{response.Body}
	switch coding := strings.ToLower(strings.TrimSpace(response.Header.Get("Content-Encoding"))); coding {
	case "", "identity":
		return raw, nil
	case "gzip", "x-gzip":
		content, err := gzip.NewReader(raw)
		if err != nil {
			return nil, gzipFault(err)
		}
		return gzipBody{content}, nil
	default:
		return nil, fault.New(fault.InputRefused, "The origin sends the image with Content-Encoding %.40q, which is not supported.", coding)
	}
}

// gzipBody returns errors of a compressed download as faults.
type gzipBody struct{ io.Reader }

func (b gzipBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, gzipFault(err)
}

func gzipFault(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return fault.Wrap(fault.InputRefused, err, "The origin sent Content-Encoding: gzip, but the body is not valid gzip.")
}
