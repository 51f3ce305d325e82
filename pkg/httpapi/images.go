package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

func (a *api) getImage(w *response, r *http.Request) error {
	m, err := a.Sets.Get(r.PathValue("id"))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, m.WithURLs(a.base(r)))
}

func (a *api) deleteImage(w *response, r *http.Request) error {
	if err := a.Sets.Delete(r.PathValue("id")); err != nil {
		return err
	}
	w.noContent()
	return nil
}

// Page sizes of a listing.
const (
	defaultLimit = 20
	maxLimit     = 100
)

// listing is one page, newest first.
type listing struct {
	Items []manifest.Manifest `json:"items"`
	Next  *string             `json:"next"` // cursor of the next page; null on the last
}

// parseLimit returns the page size that a query requests.
func parseLimit(query url.Values) (int, error) {
	s := query.Get("limit")
	if s == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, fault.New(fault.InvalidRequest, "limit must be from 1 to %d.", maxLimit)
	}
	return n, nil
}

func (a *api) listImages(w *response, r *http.Request) error {
	if err := onlyQuery(r, "limit", "cursor"); err != nil {
		return err
	}
	query := r.URL.Query()
	limit, err := parseLimit(query)
	if err != nil {
		return err
	}
	items, next, err := a.Sets.List(limit, query.Get("cursor"))
	if err != nil {
		return err
	}
	page := listing{Items: items}
	for i, m := range items {
		items[i] = m.WithURLs(a.base(r))
	}
	if next != "" {
		page.Next = &next
	}
	return w.json(http.StatusOK, page)
}

// getFile serves one file of a set. Its name determines its content, so it may
// be cached forever.
func (a *api) getFile(w *response, r *http.Request) error {
	id, name := r.PathValue("id"), r.PathValue("name")
	m, err := a.Sets.Get(id)
	if err != nil {
		return err
	}
	if name == manifest.FileName {
		b, err := m.WithURLs(a.base(r)).Encode()
		if err != nil {
			return err
		}
		digest := sha256.Sum256(b)
		return serveFile(w, r, file{bytes.NewReader(b), "application/json", digest[:], m.CreatedAt.Time, int64(len(b))})
	}
	content, v, err := a.Sets.Open(r.Context(), id, name)
	if err != nil {
		return err
	}
	defer content.Close()
	digest, err := hex.DecodeString(v.SHA256)
	if err != nil {
		return err
	}
	return serveFile(w, r, file{content, v.ContentType, digest, m.CreatedAt.Time, v.Bytes})
}

type file struct {
	content     io.ReadSeeker
	contentType string
	sha256      []byte
	modified    time.Time
	bytes       int64
}

func serveFile(w *response, r *http.Request, f file) error {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("ETag", `"`+hex.EncodeToString(f.sha256)+`"`)
	h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(f.sha256)+":")
	h.Set("Cache-Control", w.cacheControl)
	w.allowTime(f.bytes)
	normalizeRange(r, f.bytes)
	joinTags(r)
	rw := &contentWriter{response: w, method: r.Method, content: f.content}
	http.ServeContent(rw, r, "", f.modified, f.content)
	if rw.refused == 0 && rw.failed == nil {
		return nil
	}
	for _, of := range []string{"Repr-Digest", "ETag", "Last-Modified"} { // they describe the file, not the problem
		h.Del(of)
	}
	if rw.failed != nil {
		for _, of := range []string{"Content-Length", "Content-Range", "Accept-Ranges"} {
			h.Del(of)
		}
		return rw.failed
	}
	if rw.refused == http.StatusPreconditionFailed {
		return fault.New(fault.PreconditionFailed, "The file does not match the precondition of the request.")
	}
	h.Set("Content-Range", fmt.Sprintf("bytes */%d", f.bytes)) // also for a malformed range
	return fault.New(fault.RangeNotSatisfiable, "The file has %d bytes, none of them in the requested range.", f.bytes)
}

// contentWriter intercepts the errors that http.ServeContent writes, so that
// they become problems.
type contentWriter struct {
	*response
	method  string
	content io.Reader
	refused int   // status; 0 for none
	failed  error // of preparing the content
}

// preparer is remote content: Prepare requests its next n bytes, so that a
// failure is known before the status is sent.
type preparer interface{ Prepare(n int64) error }

func (w *contentWriter) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable || status == http.StatusPreconditionFailed {
		w.refused = status
		return
	}
	if w.failed = w.prepare(); w.failed == nil {
		w.response.WriteHeader(status)
	}
}

// prepare prepares the content if it is sent in one piece: for several ranges
// http.ServeContent has already read it.
func (w *contentWriter) prepare() error {
	p, ok := w.content.(preparer)
	n, _ := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	if !ok || n == 0 || w.method != http.MethodGet || strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/") {
		return nil
	}
	return p.Prepare(n)
}

func (w *contentWriter) Write(b []byte) (int, error) {
	switch {
	case w.failed != nil:
		return 0, w.failed
	case w.refused != 0:
		return len(b), nil
	default:
		return w.response.Write(b)
	}
}

// ReadFrom lets http.ServeContent use sendfile. Without it, response.ReadFrom
// would send the content as 200 OK although preparing it has failed.
func (w *contentWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	return w.response.ReadFrom(r)
}
