package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/optimizerd/optimizerd/pkg/egress"
)

// Class is why a request failed.
type Class int

// The classes of errors.
const (
	Unavailable Class = iota // no connection, too slow, 429 or 5xx; several times
	NotFound                 // no object with this key
	Exists                   // the key already has an object
	BadClock                 // the clocks of this machine and the store differ
	BadKey                   // the access key is unknown, or its secret is wrong
	Denied                   // the access key lacks a permission
	NoBucket                 // there is no such bucket
	Full                     // the store has no space left
	Refused                  // any other refusal
	Unsupported              // the store lacks something that is needed
)

// advice explains each class to the operator.
var advice = map[Class]string{
	Unavailable: "the store is out of reach or overloaded",
	NotFound:    "there is no such object",
	Exists:      "the object already exists",
	BadClock:    "the clock of this machine differs from the store's by more than 15 minutes: set it (timedatectl)",
	BadKey:      "the store does not accept the access key: check both lines of storage.s3.key_file",
	Denied:      "the access key lacks a permission: it must be allowed to read, write, list and delete objects in this bucket",
	NoBucket:    "there is no such bucket: check storage.s3.bucket and storage.s3.endpoint, or create it",
	Full:        "the store has no space left",
	Refused:     "the store refused the request",
	Unsupported: "this store cannot be used",
}

// Error is a failed request to the store.
type Error struct {
	Class     Class
	Operation string // such as "put"
	Key       string // of the object; "" for none
	Status    int    // of the response; 0 for none
	Code      string // the store's, such as "NoSuchBucket"; may be empty
	cause     error  // nil if the response is sufficient
}

// Error names the operation, the object and what to do.
func (e *Error) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "store: %s", e.Operation)
	if e.Key != "" {
		fmt.Fprintf(&s, " %s", e.Key)
	}
	fmt.Fprintf(&s, ": %s", advice[e.Class])
	if e.Status != 0 {
		fmt.Fprintf(&s, " (HTTP %d", e.Status)
		if e.Code != "" {
			fmt.Fprintf(&s, " %s", e.Code)
		}
		s.WriteString(")")
	}
	if e.cause != nil {
		fmt.Fprintf(&s, ": %v", e.cause)
	}
	return s.String()
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether err is an error of the store of this class.
func Is(err error, class Class) bool {
	var e *Error
	return errors.As(err, &e) && e.Class == class
}

// temporary reports whether the same request may succeed soon.
func (e *Error) temporary() bool { return e.Class == Unavailable }

// classes maps the stores' own codes. Others are classified by status.
var classes = map[string]Class{
	"NoSuchKey":             NotFound,
	"PreconditionFailed":    Exists,
	"RequestTimeTooSkewed":  BadClock,
	"InvalidAccessKeyId":    BadKey,
	"SignatureDoesNotMatch": BadKey,
	"Unauthorized":          BadKey,
	"XAdminUserNotFound":    BadKey, // versitygw
	"AccessDenied":          Denied,
	"NoSuchBucket":          NoBucket,
	"QuotaExceeded":         Full,
	"InsufficientStorage":   Full,
	"XMinioStorageFull":     Full,
	"SlowDown":              Unavailable,
	"RequestTimeout":        Unavailable,
	"InternalError":         Unavailable,
	// Another request for this key is in progress; the next attempt finds its result.
	"ConditionalRequestConflict": Unavailable,
	"OperationAborted":           Unavailable,
}

// maxErrorBody bounds what is read of an error response, bytes.
const maxErrorBody = 64 << 10

// refusal returns the error that a response describes.
func refusal(operation, key string, response *http.Response) *Error {
	e := &Error{Class: classOf(response.StatusCode), Operation: operation, Key: key, Status: response.StatusCode}
	var body struct{ Code, Message string }
	b, err := io.ReadAll(io.LimitReader(response.Body, maxErrorBody))
	if err == nil && len(b) > 0 && xml.Unmarshal(b, &body) == nil { // HEAD has none, and proxies send HTML
		e.Code = body.Code
	}
	if class, ok := classes[e.Code]; ok {
		e.Class = class
	}
	return e
}

func classOf(status int) Class {
	switch {
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusPreconditionFailed:
		return Exists
	case status == http.StatusUnauthorized:
		return BadKey
	case status == http.StatusForbidden:
		return Denied
	case status == http.StatusInsufficientStorage:
		return Full
	case status == http.StatusNotImplemented:
		return Refused
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict, status >= 500:
		return Unavailable
	default:
		return Refused
	}
}

// maxRetryAfter is the longest Retry-After of a store that is honored.
const maxRetryAfter = 10 * time.Second

// retryable returns e in the form from which backoff.Retry knows whether and when
// to repeat the request.
func retryable(e *Error, header http.Header) error {
	if !e.temporary() {
		return backoff.Permanent(e)
	}
	if wait := egress.RetryAfter(header, time.Now()); wait > 0 {
		return fmt.Errorf("%w: %w", e, &backoff.RetryAfterError{Duration: min(wait, maxRetryAfter)})
	}
	return e
}

// disconnected returns the error of a request without a response.
func disconnected(operation, key string, cause error) *Error {
	return &Error{Class: Unavailable, Operation: operation, Key: key, cause: cause}
}

// final returns the error of an operation whose last attempt ended with err: ctx's
// error if it ended, otherwise the store's.
func final(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return err
}
