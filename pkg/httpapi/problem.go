package httpapi

import (
	"net/http"
	"strconv"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// statusByCode maps fault codes to HTTP statuses and titles.
var statusByCode = map[fault.Code]struct {
	status int
	title  string
}{
	fault.InvalidRequest:      {http.StatusBadRequest, "Invalid request"},
	fault.DigestMismatch:      {http.StatusBadRequest, "Digest mismatch"},
	fault.Unauthorized:        {http.StatusUnauthorized, "Unauthorized"},
	fault.Forbidden:           {http.StatusForbidden, "Forbidden"},
	fault.MisdirectedRequest:  {http.StatusMisdirectedRequest, "Misdirected request"},
	fault.NotFound:            {http.StatusNotFound, "Not found"},
	fault.MethodNotAllowed:    {http.StatusMethodNotAllowed, "Method not allowed"},
	fault.UploadTimeout:       {http.StatusRequestTimeout, "Upload timeout"},
	fault.TooLarge:            {http.StatusRequestEntityTooLarge, "Too large"},
	fault.UnsupportedFormat:   {http.StatusUnsupportedMediaType, "Unsupported format"},
	fault.UnsupportedEncoding: {http.StatusUnsupportedMediaType, "Unsupported encoding"},
	fault.RangeNotSatisfiable: {http.StatusRequestedRangeNotSatisfiable, "Range not satisfiable"},
	fault.PreconditionFailed:  {http.StatusPreconditionFailed, "Precondition failed"},
	fault.CorruptImage:        {http.StatusUnprocessableEntity, "Corrupt image"},
	fault.TooManyPixels:       {http.StatusUnprocessableEntity, "Too many pixels"},
	fault.TooManyFrames:       {http.StatusUnprocessableEntity, "Too many frames"},
	fault.ProcessingFailed:    {http.StatusUnprocessableEntity, "Processing failed"},
	fault.InvalidOptions:      {http.StatusUnprocessableEntity, "Invalid options"},
	fault.Conflict:            {http.StatusConflict, "Conflict"},
	fault.Canceled:            {http.StatusConflict, "Canceled"},
	fault.QueueFull:           {http.StatusTooManyRequests, "Queue full"},
	fault.ShuttingDown:        {http.StatusServiceUnavailable, "Shutting down"},
	fault.Unavailable:         {http.StatusServiceUnavailable, "Unavailable"},
	fault.InsufficientStorage: {http.StatusInsufficientStorage, "Insufficient storage"},
	fault.Internal:            {http.StatusInternalServerError, "Internal error"},
}

// problem is an RFC 9457 problem with a code for programs.
type problem struct {
	Type      string     `json:"type"`
	Title     string     `json:"title"`
	Status    int        `json:"status"`
	Detail    string     `json:"detail"`
	Code      fault.Code `json:"code"`
	RequestID string     `json:"request_id"`
}

// Retry-After for temporary failures, for unreachable services, and for jobs that
// have not ended, in seconds.
const (
	retryAfterFailure     = 10
	retryAfterUnavailable = 5
	retryAfterJob         = 1
)

// retryAfter returns the Retry-After of a failure, 0 for one that is not
// temporary.
func retryAfter(c fault.Code) int {
	switch {
	case c == fault.Unavailable:
		return retryAfterUnavailable
	case c.Temporary():
		return retryAfterFailure
	default:
		return 0
	}
}

func (w *response) problem(f *fault.Error) error {
	kind, ok := statusByCode[f.Code]
	if !ok {
		kind = statusByCode[fault.Internal]
	}
	h := w.Header()
	if wait := retryAfter(f.Code); wait > 0 {
		h.Set("Retry-After", strconv.Itoa(wait))
	}
	if f.Code == fault.Unauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="optimizerd"`)
	}
	return w.write(kind.status, "application/problem+json", problem{
		Type:  "urn:optimizerd:problem:" + string(f.Code),
		Title: kind.title, Status: kind.status, Detail: f.Detail, Code: f.Code, RequestID: w.requestID,
	})
}
