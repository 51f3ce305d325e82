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
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// handler answers a request or returns why not.
type handler func(w *response, r *http.Request) error

// ServeHTTP is called by the mux, with what wrap has made.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rw := w.(*response)
	rw.err = h(rw, r)
}

// response is the writer of one answer, and what is to be known of it.
type response struct {
	http.ResponseWriter
	requestID string
	status    int // 0 until the header is written
	bytes     int64
	err       error // why the handler did not answer

	cacheControl string // of a file, by how the request was let in
}

// statusClientGone is logged, never sent: nobody is there to read it.
const statusClientGone = 499

var saneRequestID = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]{1,128}$`)

// wrap is around every request.
func (a *api) wrap(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		began := time.Now()
		w := &response{ResponseWriter: rw, requestID: r.Header.Get("X-Request-Id")}
		if !saneRequestID.MatchString(w.requestID) {
			w.requestID = rand.Text()
		}
		w.Header().Set("X-Request-Id", w.requestID)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		body := &countingBody{ReadCloser: r.Body}
		r.Body = body
		if r.ContentLength != 0 && r.ProtoMajor == 1 { // a body that no handler reads, net/http does; one that does has its own deadlines
			_ = http.NewResponseController(rw).SetReadDeadline(began.Add(drainTime))
		}

		h, route := mux.Handler(r)
		if _, ours := h.(handler); !ours { // nothing, or the mux's redirect to a path without // or ..
			h, route = handler(func(w *response, r *http.Request) error { return noRoute(mux, w, r) }), "none"
		} else {
			h = mux // which fills in the path's values
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
			panic(http.ErrAbortHandler) // cut it off, so that nobody takes it for a whole answer
		}
	})
}

// serve runs the handler; a panic is an error like any other.
func serve(h http.Handler, w *response, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	h.ServeHTTP(w, r)
	return w.err
}

// noRoute says why no route matches: the path, or only the method.
func noRoute(mux *http.ServeMux, w *response, r *http.Request) error {
	probe := &discard{header: make(http.Header)}
	mux.ServeHTTP(probe, r)
	if probe.status != http.StatusMethodNotAllowed {
		return fault.New(fault.NotFound, "There is no resource at this path.")
	}
	allowed := probe.header.Get("Allow")
	w.Header().Set("Allow", allowed)
	return fault.New(fault.MethodNotAllowed, "This path allows only %s.", allowed)
}

// discard is a ResponseWriter for the answer that only its header counts of.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// fail answers with the problem, unless the client hung up while it waited.
// (The context ends with a body that is cut short too, and that client may
// still read.)
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

// drainBytes and drainTime bound what is read of a refused body.
const (
	drainBytes = 16 << 20
	drainTime  = 5 * time.Second
)

// drain reads on for a while after a refusal: most clients send their whole
// body before they look for an answer, and a connection closed under them
// would hide it. A client that asked first (100-continue) waits for the answer,
// and one that stopped sending is not waited for.
//
// What is left of the body then is not to be read at all: net/http would read
// on before it answers, and again before it closes the connection, however
// long that takes.
func drain(w *response, r *http.Request, body *countingBody) {
	if r.ContentLength == 0 {
		return
	}
	c := http.NewResponseController(w.ResponseWriter)
	asks := body.n == 0 && r.Header.Get("Expect") != ""
	if body.err == nil && !asks && fault.CodeOf(w.err) != fault.UploadTimeout {
		_ = c.SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.CopyN(io.Discard, body, drainBytes) // what cannot be read changes nothing
		_ = c.SetReadDeadline(time.Time{})
	}
	if !errors.Is(body.err, io.EOF) {
		w.Header().Set("Connection", "close")
		_ = c.SetReadDeadline(time.Now())
	}
}

// countingBody knows how much of a body was read, and how reading ended.
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
	write := a.Log.Debug // one line a request wears out an SD card
	switch {
	case w.status >= 500 && w.status != http.StatusInsufficientStorage:
		write = a.Log.Error
	case w.status >= 400 || r.Method == http.MethodPost || r.Method == http.MethodDelete:
		write = a.Log.Info
	}
	write("request", zap.String("request_id", w.requestID), zap.String("client", cut(a.client(r))), zap.String("method", cut(r.Method)), zap.String("path", cut(r.URL.Path)),
		zap.String("route", route), zap.Int("status", w.status), zap.Duration("took", took),
		zap.Int64("bytes_in", bytesIn), zap.Int64("bytes_out", w.bytes), zap.Error(w.err))
}

// cut bounds what a client can write into a line of the log.
func cut(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

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

// ReadFrom lets io.Copy send a file without its bytes passing through here.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeSlack and writeRate give the time that a client has to take an answer.
const (
	writeSlack = 30 * time.Second
	writeRate  = 8 << 10 // bytes a second
)

// allowTime sets the deadline for an answer of this many bytes.
func (w *response) allowTime(n int64) {
	// Not every writer has deadlines; then its owner bounds the time.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writeSlack + time.Duration(n/writeRate)*time.Second))
}

// json answers with v, which is not to be cached.
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
