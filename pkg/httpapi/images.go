package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

func (a *api) getImage(w *response, r *http.Request) error {
	m, err := a.Store.Get(r.PathValue("id"))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, m.WithURLs(a.base(r)))
}

func (a *api) deleteImage(w *response, r *http.Request) error {
	if err := a.Store.Delete(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
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

func (a *api) listImages(w *response, r *http.Request) error {
	if err := onlyQuery(r, "limit", "cursor"); err != nil {
		return err
	}
	query := r.URL.Query()
	limit := defaultLimit
	if s := query.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxLimit {
			return fault.New(fault.InvalidRequest, "limit must be from 1 to %d.", maxLimit)
		}
		limit = n
	}
	items, next, err := a.Store.List(limit, query.Get("cursor"))
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
	if name == manifest.FileName {
		m, err := a.Store.Get(id)
		if err != nil {
			return err
		}
		b, err := m.WithURLs(a.base(r)).Encode()
		if err != nil {
			return err
		}
		digest := sha256.Sum256(b)
		return serveFile(w, r, file{bytes.NewReader(b), "application/json", digest[:], m.CreatedAt.Time, int64(len(b))})
	}
	f, v, err := a.Store.Open(id, name)
	if err != nil {
		return err
	}
	defer f.Close()
	digest, err := hex.DecodeString(v.SHA256)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return serveFile(w, r, file{f, v.ContentType, digest, info.ModTime(), v.Bytes})
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
	rw := &contentWriter{response: w}
	http.ServeContent(rw, r, "", f.modified, f.content)
	if rw.refused == 0 {
		return nil
	}
	for _, of := range []string{"Repr-Digest", "ETag", "Last-Modified"} { // they describe the file, not the problem
		h.Del(of)
	}
	if rw.refused == http.StatusPreconditionFailed {
		return fault.New(fault.PreconditionFailed, "The file does not match the precondition of the request.")
	}
	return fault.New(fault.RangeNotSatisfiable, "The file has %d bytes, none of them in the requested range.", f.bytes)
}

// contentWriter intercepts the errors that http.ServeContent writes, so that
// they become problems.
type contentWriter struct {
	*response
	refused int // status; 0 for none
}

func (w *contentWriter) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable || status == http.StatusPreconditionFailed {
		w.refused = status
		return
	}
	w.response.WriteHeader(status)
}

func (w *contentWriter) Write(b []byte) (int, error) {
	if w.refused != 0 {
		return len(b), nil
	}
	return w.response.Write(b)
}
