// Package fault gives errors a stable code and a public text, apart from
// their cause.
//
// A fault says three things to three readers: its Code to a program, its
// Detail to the person at the other end, its cause to the operator's log.
// The detail never holds a path, a stack or a library's raw text. Faults know
// nothing of HTTP: package httpapi owns the one table from code to status.
package fault

import (
	"errors"
	"fmt"
	"syscall"
)

// Code is the stable, machine-readable name of a kind of failure. Codes are
// part of the HTTP contract: they are added, never renamed.
type Code string

// The codes of the contract.
const (
	InvalidRequest      Code = "invalid_request"       // the request itself is malformed
	DigestMismatch      Code = "digest_mismatch"       // the bytes are not those the client digested
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
	PreconditionFailed  Code = "precondition_failed"   // If-Match or the like does not hold
	CorruptImage        Code = "corrupt_image"         // an accepted format, but damaged
	TooManyPixels       Code = "too_many_pixels"       // over the pixel or decoded-memory limit
	TooManyFrames       Code = "too_many_frames"       // an animation longer than limits.max_frames
	ProcessingFailed    Code = "processing_failed"     // the codec process died or ran out of time, twice
	InvalidOptions      Code = "invalid_options"       // well-formed, but no picture can be made so: too wide, or more than the format holds
	InputForbidden      Code = "input_forbidden"       // the rules of this server refuse the URL, or an address it leads to
	InputNotFound       Code = "input_not_found"       // the origin says that there is nothing at the URL
	InputRefused        Code = "input_refused"         // the origin will not give it: a 4xx, or too many redirects
	InputUnavailable    Code = "input_unavailable"     // the origin was not reached, was too slow, or answered 5xx, several times
	QueueFull           Code = "queue_full"            // no place in the queue; try later
	ShuttingDown        Code = "shutting_down"         // the daemon is stopping; try later
	InsufficientStorage Code = "insufficient_storage"  // the disk is full; try later
	Internal            Code = "internal"              // a fault of ours; the log has its cause
)

// Error is a failure with a code. Build one with New or Wrap.
type Error struct {
	Code   Code
	Detail string // one sentence for the person at the other end
	cause  error
}

// New returns a fault without a cause.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap returns a fault with a cause, which goes to the log and to errors.Is
// but never to a client.
func Wrap(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...), cause: cause}
}

// Stopping is the fault of a request that comes while the daemon stops.
func Stopping() *Error {
	return New(ShuttingDown, "The server is shutting down; try again shortly.")
}

// Error is the operator's text: code, detail and cause.
func (e *Error) Error() string {
	if e.cause == nil {
		return string(e.Code) + ": " + e.Detail
	}
	return string(e.Code) + ": " + e.Detail + ": " + e.cause.Error()
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// From returns err as a fault. A full disk is InsufficientStorage wherever it
// was met; any other error without a code is Internal, with a detail that
// gives nothing away.
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

// Temporary reports whether the same request may succeed later with nothing
// changed but the state of the machine.
func (c Code) Temporary() bool {
	switch c {
	case QueueFull, ShuttingDown, InsufficientStorage:
		return true
	default:
		return false
	}
}
