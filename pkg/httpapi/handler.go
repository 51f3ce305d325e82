package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// handler writes a response or returns an error.
type handler func(w *response, r *http.Request) error

// ServeHTTP is called by the mux with the response that wrap created.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rw := w.(*response)
	rw.err = h(rw, r)
}

// response wraps the ResponseWriter of one response and records what the log
// needs.
type response struct {
	http.ResponseWriter
	requestID string
	status    int // 0 until the header is written
	bytes     int64
	err       error // why the handler did not answer
	notes     []zap.Field
	logged    bool // the line of its job says the same

	cacheControl string // of a file, by how the request was let in
}

// statusClientGone is logged, but never sent: the client is gone.
const statusClientGone = 499

const requestIDHeader = "X-Request-Id"

// newResponse returns the response to a request, with its id: the client's if it is
// sane, else a new one.
func newResponse(rw http.ResponseWriter, r *http.Request) *response {
	w := &response{ResponseWriter: rw, requestID: r.Header.Get(requestIDHeader)}
	if !saneRequestID.MatchString(w.requestID) {
		w.requestID = rand.Text()
	}
	w.Header().Set(requestIDHeader, w.requestID)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return w
}

var saneRequestID = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]{1,128}$`)

// wrap wraps the mux with request ids, error handling, logging and metrics.
func (a *api) wrap(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		began := time.Now()
		w := newResponse(rw, r)
		body := &countingBody{ReadCloser: r.Body}
		r.Body = body
		if r.ContentLength != 0 && r.ProtoMajor == 1 { // net/http reads a body that no handler reads; handlers that do set their own deadlines
			_ = http.NewResponseController(rw).SetReadDeadline(began.Add(drainTime))
		}

		h, route := mux.Handler(r)
		if _, ours := h.(handler); !ours { // no route, or the mux's redirect to a cleaned path
			h, route = handler(func(w *response, r *http.Request) error { return a.refuseRoute(mux, w, r) }), "none"
		} else {
			h = mux // sets the path values
		}
		if w.err = a.checkAccess(r); w.err == nil {
			w.err = serve(h, w, r)
		}
		partial := w.err != nil && w.status != 0
		if w.err != nil && !partial {
			w.fail(r, body)
		}
		took := time.Since(began)
		a.log(w, r, route, took, body.n)
		a.Observe(Observation{Route: route, Status: w.status, Took: took, BytesIn: body.n, BytesOut: w.bytes})
		if partial || w.status == statusClientGone {
			panic(http.ErrAbortHandler) // abort, so that the response is not mistaken for a complete one
		}
	})
}

// serve runs the handler and turns a panic into an error.
func serve(h http.Handler, w *response, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	h.ServeHTTP(w, r)
	return w.err
}

// refuseRoute returns why no route matches. Without a token a client learns only
// the methods of the public paths.
func (a *api) refuseRoute(mux *http.ServeMux, w *response, r *http.Request) error {
	atRoot := r.URL.Path == "/" // where a person's browser looks first
	if !a.open(r.URL.Path) {
		switch err := a.auth.check(r); {
		case err != nil && atRoot:
			return fault.New(fault.Unauthorized, "This is the API of an image server: send one of its tokens as 'Authorization: Bearer TOKEN'. /healthz needs none, and says whether the server works.")
		case err != nil:
			return err
		}
	}
	if atRoot {
		return fault.New(fault.NotFound, "This is the API of an image server: /openapi.json describes it, and /healthz says whether the server works.")
	}
	return noRoute(mux, w, r)
}

// noRoute returns why no route of mux matches: the path or the method.
func noRoute(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) error {
	probe := &discard{header: make(http.Header)}
	mux.ServeHTTP(probe, r)
	if probe.status != http.StatusMethodNotAllowed {
		return fault.New(fault.NotFound, "There is no resource at this path.")
	}
	allowed := probe.header.Get("Allow")
	w.Header().Set("Allow", allowed)
	return fault.New(fault.MethodNotAllowed, "This path allows only %s.", allowed)
}

// discard is a ResponseWriter that records only header and status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// fail writes the problem, unless the client is gone. (The context is also
// canceled if a body is truncated, and that client may still read.)
func (w *response) fail(r *http.Request, body *countingBody) {
	if errors.Is(w.err, context.Canceled) {
		w.status = statusClientGone
		return
	}
	drain(w, r, body)
	if err := w.problem(fault.From(w.err)); err != nil {
		w.err = errors.Join(w.err, err)
	}
}

// drainBytes and drainTime limit how much of a refused body is read.
const (
	drainBytes = 16 << 20
	drainTime  = 5 * time.Second
)

// drain reads the rest of a refused body for a while: most clients send the
// complete body before they read the response, and closing the connection early
// would hide it. A client that sent Expect: 100-continue waits for the
// response, and a stalled client is not waited for.
//
// The remainder is not read at all: net/http would otherwise read on before it
// responds, and again before it closes the connection, without a time limit.
func drain(w *response, r *http.Request, body *countingBody) {
	if r.ContentLength == 0 {
		return
	}
	c := http.NewResponseController(w.ResponseWriter)
	asks := body.n == 0 && r.Header.Get("Expect") != ""
	if body.err == nil && !asks && fault.CodeOf(w.err) != fault.UploadTimeout {
		_ = c.SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.CopyN(io.Discard, body, drainBytes) // errors do not matter
		_ = c.SetReadDeadline(time.Time{})
	}
	if !errors.Is(body.err, io.EOF) {
		w.Header().Set("Connection", "close")
		_ = c.SetReadDeadline(time.Now())
	}
}

// countingBody counts the bytes read from a body and records the final error.
type countingBody struct {
	io.ReadCloser
	n   int64
	err error // io.EOF at the end of the body
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	if err != nil {
		b.err = err
	}
	return n, err
}

func (a *api) log(w *response, r *http.Request, route string, took time.Duration, bytesIn int64) {
	write := a.Log.Debug // one line per request would wear out an SD card
	switch {
	case w.logged:
	case w.status >= 500 && w.status != http.StatusInsufficientStorage:
		write = a.Log.Error
	case w.status >= 400 || r.Method == http.MethodPost || r.Method == http.MethodDelete:
		write = a.Log.Info
	}
	fields := []zap.Field{zap.String("method", short(r.Method)), zap.String("path", short(r.URL.Path)), zap.Int("status", w.status)}
	write("request", append(append(fields, w.notes...), zap.Int64("bytes_in", bytesIn), zap.Int64("bytes_out", w.bytes), zap.Duration("took", took),
		zap.String("client", short(a.client(r))), zap.String("route", route), zap.String("request_id", w.requestID), zap.Error(w.err))...)
}

// note adds fields to the log line of the request.
func (w *response) note(fields ...zap.Field) { w.notes = append(w.notes, fields...) }

// short limits the length of client input in a log line.
func short(s string) string { return fmt.Sprintf("%.200s", s) }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom lets io.Copy use sendfile.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Unwrap supports http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeSlack and writeRate determine the time a client has to read a response.
const (
	writeSlack = 30 * time.Second
	writeRate  = 8 << 10 // bytes per second
)

// allowTime sets the write deadline for a response of n bytes.
func (w *response) allowTime(n int64) {
	// Some writers do not support deadlines; then their owner limits the time.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writeSlack + time.Duration(n/writeRate)*time.Second))
}

// noContent answers 204.
func (w *response) noContent() {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// json writes v as an uncacheable JSON response.
func (w *response) json(status int, v any) error { return w.write(status, "application/json", v) }

func (w *response) write(status int, contentType string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode response: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Cache-Control", "no-store")
	w.allowTime(int64(b.Len()))
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return err
}
