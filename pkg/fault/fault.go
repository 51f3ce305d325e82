// Package fault provides errors with a stable code and a public message,
// separate from their cause.
//
// A fault has three readers: its Code is for programs, its Detail for the
// client, its cause for the operator's log. The detail never contains a path, a
// stack trace or a library's message. Faults are independent of HTTP: package
// httpapi maps codes to statuses.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Code is the stable name of a kind of failure. Codes are part of the HTTP
// contract: they may be added, but never renamed.
type Code string

// The codes of the contract.
const (
	InvalidRequest      Code = "invalid_request"       // the request itself is malformed
	DigestMismatch      Code = "digest_mismatch"       // the body does not match the client's digest
	Unauthorized        Code = "unauthorized"          // no valid token
	Forbidden           Code = "forbidden"             // refused by Cloudflare Access, or sent by another web site
	MisdirectedRequest  Code = "misdirected_request"   // the Host header does not name this server
	NotFound            Code = "not_found"             // no such image, job, file or route
	MethodNotAllowed    Code = "method_not_allowed"    // the route exists, the method does not
	UploadTimeout       Code = "upload_timeout"        // the body came too slowly or stopped
	TooLarge            Code = "too_large"             // more bytes than limits.max_bytes
	UnsupportedFormat   Code = "unsupported_format"    // not an image of an accepted format
	UnsupportedEncoding Code = "unsupported_encoding"  // the body has a Content-Encoding
	RangeNotSatisfiable Code = "range_not_satisfiable" // no byte of the file is in the range
	PreconditionFailed  Code = "precondition_failed"   // If-Match or If-Unmodified-Since does not match
	CorruptImage        Code = "corrupt_image"         // an accepted format, but damaged
	TooManyPixels       Code = "too_many_pixels"       // over the pixel or decoded-memory limit
	TooManyFrames       Code = "too_many_frames"       // an animation longer than limits.max_frames
	ProcessingFailed    Code = "processing_failed"     // the codec process died or timed out, twice
	InvalidOptions      Code = "invalid_options"       // well-formed, but not possible: too wide, or too large for the format
	InputForbidden      Code = "input_forbidden"       // this server's rules forbid the URL, or an address it resolves to
	InputNotFound       Code = "input_not_found"       // the origin has nothing at the URL
	InputRefused        Code = "input_refused"         // the origin refused: a 4xx, or too many redirects
	InputUnavailable    Code = "input_unavailable"     // the origin was unreachable, too slow or answered 5xx, several times
	Conflict            Code = "conflict"              // the job's state does not allow it: it runs, or has ended
	Canceled            Code = "canceled"              // canceled before the job started
	QueueFull           Code = "queue_full"            // the queue is full; retry later
	ShuttingDown        Code = "shutting_down"         // the daemon is stopping; retry later
	InsufficientStorage Code = "insufficient_storage"  // the disk or the object store is full; retry later
	Unavailable         Code = "unavailable"           // the object store is out of reach, or the disk read-only; retry later
	Internal            Code = "internal"              // our fault; the cause is in the log
)

// Error is a failure with a code. Use New or Wrap to create one.
type Error struct {
	Code   Code
	Detail string // one sentence for the client
	cause  error
}

// New returns a fault without a cause.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap returns a fault with a cause. The cause is logged and found by
// errors.Is, but never sent to a client.
func Wrap(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), cause: cause}
}

// Stopping is the fault of a request that comes while the daemon stops.
func Stopping() *Error {
	return New(ShuttingDown, "The server is shutting down; try again shortly.")
}

// Error returns code, detail and cause, for the operator.
func (e *Error) Error() string {
	if e.cause == nil {
		return string(e.Code) + ": " + e.Detail
	}
	return string(e.Code) + ": " + strings.TrimSuffix(e.Detail, ".") + ": " + e.cause.Error()
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.cause }

// From returns err as a fault. A full disk becomes InsufficientStorage; any
// other error without a code becomes Internal, with a detail that reveals
// nothing.
func From(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Wrap(InsufficientStorage, err, "The disk is full.")
	default:
		return Wrap(Internal, err, "Internal error. See the server log for this request id.")
	}
}

// CodeOf returns the code of err, or "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return From(err).Code
}

// Temporary reports whether the same request may succeed later without changes.
func (c Code) Temporary() bool {
	switch c {
	case QueueFull, ShuttingDown, InsufficientStorage, Unavailable:
		return true
	default:
		return false
	}
}
