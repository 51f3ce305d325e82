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
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/timestamp"
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

// The page size of a listing.
const (
	defaultLimit = 20
	maxLimit     = 100
)

// listing is one page, newest first.
type listing struct {
	Items []manifest.Manifest `json:"items"`
	Next  *string             `json:"next"` // cursor of the next page, null on the last
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

// getFile serves one file of a set. Its content follows from its name, so it
// may be cached for ever.
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
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	w.allowTime(f.bytes)
	rw := &contentWriter{response: w}
	http.ServeContent(rw, r, "", f.modified, f.content)
	if rw.refused == 0 {
		return nil
	}
	for _, of := range []string{"Repr-Digest", "ETag", "Last-Modified"} { // they are the file's, not the problem's
		h.Del(of)
	}
	if rw.refused == http.StatusPreconditionFailed {
		return fault.New(fault.PreconditionFailed, "The file is not the one that the request is for.")
	}
	return fault.New(fault.RangeNotSatisfiable, "The file has %d bytes, none of them in the range.", f.bytes)
}

// contentWriter holds back the errors that http.ServeContent answers by
// itself, so that they become problems like any other.
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

// jobView is a job as its client sees it.
type jobView struct {
	ID         string          `json:"id"`
	Object     string          `json:"object"`
	Kind       string          `json:"kind"`
	Status     job.Status      `json:"status"`
	Input      string          `json:"input"` // "upload:" and the SHA-256 of the bytes
	Options    struct{}        `json:"options"`
	Metadata   struct{}        `json:"metadata"`
	Output     *jobOutput      `json:"output"`
	Error      *job.Error      `json:"error"`
	Attempts   int             `json:"attempts"`
	CreatedAt  timestamp.Time  `json:"created_at"`
	StartedAt  *timestamp.Time `json:"started_at"`
	FinishedAt *timestamp.Time `json:"finished_at"`
}

// jobOutput is what a completed job made.
type jobOutput struct {
	Manifest manifest.Manifest `json:"manifest"`
	URL      string            `json:"url"` // of the manifest's file
}

// jobView is the job with its output, unless that was deleted since.
func (a *api) jobView(r *http.Request, j job.Job) jobView {
	v := jobView{
		ID: j.ID, Object: "job", Kind: "image", Status: j.Status, Input: "upload:" + j.Source.SHA256,
		Error: j.Error, Attempts: j.Attempts, CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt,
	}
	if j.Status != job.Completed {
		return v
	}
	if m, err := a.Store.Get(j.ImageID); err == nil {
		base := a.base(r)
		v.Output = &jobOutput{Manifest: m.WithURLs(base), URL: base + "/files/" + m.ID + "/" + manifest.FileName}
	}
	return v
}

// getJob answers with a job; Prefer: wait=N holds the answer until its end.
func (a *api) getJob(w *response, r *http.Request) error {
	id := r.PathValue("id")
	j, err := a.Queue.Get(id)
	if err != nil {
		return err
	}
	if prefer := parsePreference(r, 0, a.SyncWait); prefer.wait > 0 && !j.Status.Ended() {
		w.Header().Set("Preference-Applied", prefer.applied)
		if t, ok := a.Queue.Ticket(id); ok {
			a.wait(r.Context(), t, prefer.wait)
		}
		if j, err = a.Queue.Get(id); err != nil {
			return err
		}
	}
	if !j.Status.Ended() {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterJob))
	}
	return w.json(http.StatusOK, a.jobView(r, j))
}
