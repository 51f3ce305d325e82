package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// postImage accepts one image and responds with its manifest, or with its job.
func (a *api) postImage(w *response, r *http.Request) error {
	if err := onlyQuery(r, "filename", "webhook_url"); err != nil {
		return err
	}
	if err := checkEncoding(r); err != nil {
		return err
	}
	webhook := job.Webhook{URL: r.URL.Query().Get("webhook_url"), Base: a.ownBase(r)}
	if err := a.checkWebhook(webhook.URL); err != nil {
		return err
	}
	digest, err := contentDigest(r)
	if err != nil {
		return err
	}
	overhead := int64(0)
	if mediaType(r) == formType {
		overhead = formSlack
	}
	// Refuse as much as possible before the body is read.
	admission, err := a.Jobs.Admit(r.ContentLength, overhead)
	if err != nil {
		return err
	}
	defer admission.Close()
	admission.RequestID = w.requestID
	prefer := parsePreference(r, a.SyncWait, a.SyncWait)
	mayHold := prefer.wait > 0 && webhook.URL == "" // the job may end before a client has its id
	// Only a form reaches this limit: of an image, the spool reads at most MaxBytes + 1 bytes.
	body := a.paced(w, r, a.MaxBytes+formSlack, errForm)
	err = receive(r, body, digest, func(image io.Reader, filename string) (sum [sha256.Size]byte, err error) {
		sum, err = admission.Receive(image, filename, mayHold)
		w.note(zap.String("filename", admission.Filename))
		return sum, err
	})
	body.release()
	if err != nil {
		return err
	}
	received := time.Now()
	submission, err := admission.Submit(webhook)
	if err != nil {
		return err
	}
	return a.answerUpload(w, r, submission, prefer, received)
}

// mediaType returns the Content-Type without parameters. For an upload only
// that of a form matters: it determines where the image begins.
func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}

// storeFunc streams an image into the spool and returns its digest.
type storeFunc func(image io.Reader, filename string) ([sha256.Size]byte, error)

// receive streams the only image of the body into the spool, and compares the
// body's digest with the expected one unless that is nil.
func receive(r *http.Request, body io.Reader, expected []byte, store storeFunc) error {
	if mediaType(r) != formType {
		sum, err := store(body, r.URL.Query().Get("filename"))
		if err != nil {
			return err
		}
		return checkDigest(expected, sum[:])
	}
	hash := sha256.New()
	if expected != nil {
		body = io.TeeReader(body, hash)
	}
	_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err := receiveForm(multipart.NewReader(body, params["boundary"]), store); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // bytes after the last part count for the digest
		return err
	}
	return checkDigest(expected, hash.Sum(nil))
}

func checkDigest(expected, got []byte) error {
	if expected != nil && !bytes.Equal(expected, got) {
		return fault.New(fault.DigestMismatch, "The SHA-256 of the body is %x, but Content-Digest is %x; send it again.", got, expected)
	}
	return nil
}

// answerUpload waits for the job as long as the client prefers, and responds.
func (a *api) answerUpload(w *response, r *http.Request, s jobs.Submission, prefer preference, received time.Time) error {
	if s.Manifest != nil {
		w.note(zap.String("image_id", s.Manifest.ID), zap.String("result", "there"))
		w.Header().Set("Location", "/v1/images/"+s.Manifest.ID)
		return w.json(http.StatusOK, s.Manifest.WithURLs(a.base(r)))
	}
	j := s.Ticket.Job()
	if prefer.wait > 0 {
		j = a.wait(r.Context(), s.Ticket, prefer.wait)
	}
	w.note(zap.String("image_id", j.ImageID))
	if err := r.Context().Err(); err != nil {
		return err // the job continues; a repeated upload finds its result
	}
	if !j.Status.Ended() {
		var err error
		if j, err = a.Jobs.Announce(s.Ticket); err != nil {
			return err
		}
	}
	_, rendered := j.Timings[ladder.StageCodec]
	w.logged = !s.Joined && (rendered || j.Status == job.Failed)
	switch j.Status {
	case job.Completed:
		w.note(zap.String("result", "there"))
		m, err := a.Sets.Get(j.ImageID)
		if err != nil {
			return err
		}
		status := http.StatusCreated
		if s.Joined {
			status = http.StatusOK
		}
		prefer.acknowledge(w)
		w.Header().Set("Location", "/v1/images/"+m.ID)
		w.Header().Set("Server-Timing", timing(j, received))
		return w.json(status, m.WithURLs(a.base(r)))
	case job.Failed:
		w.note(zap.String("result", string(j.Error.Code)))
		return fault.New(j.Error.Code, "%s", j.Error.Message)
	default:
		w.note(zap.String("result", "accepted"))
		prefer.acknowledge(w)
		return a.answerAccepted(w, r, j)
	}
}

// wait returns the job once it has ended, or its current state once longest has
// passed or the daemon stops.
func (a *api) wait(ctx context.Context, t jobs.Ticket, longest time.Duration) job.Job {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	returned := make(chan struct{})
	defer close(returned)
	go func() {
		select {
		case <-a.Stopping:
			cancel()
		case <-returned:
		}
	}()
	return t.Wait(ctx)
}

// timing returns the Server-Timing value: each stage, the work, and the total
// time from the last byte of the body to the response.
func timing(j job.Job, received time.Time) string {
	ms := func(d time.Duration) string {
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64)
	}
	var stages strings.Builder
	for _, s := range ladder.Stages {
		if took, ok := j.Timings[s]; ok {
			fmt.Fprintf(&stages, "%s;dur=%s, ", s, ms(took))
		}
	}
	return fmt.Sprintf("%swork;dur=%s, total;dur=%s", &stages, ms(j.FinishedAt.Sub(j.StartedAt.Time)), ms(time.Since(received)))
}

// onlyQuery refuses unknown query parameters, those that are set twice, and malformed
// ones, which net/url would drop.
func onlyQuery(r *http.Request, allowed ...string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	for _, key := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !slices.Contains(allowed, key):
			return fault.New(fault.InvalidRequest, "Unknown query parameter %.100q.", key)
		case len(query[key]) > 1:
			return fault.New(fault.InvalidRequest, "The query parameter %s is set twice.", key)
		}
	}
	if err != nil {
		return fault.Wrap(fault.InvalidRequest, err, "The query is malformed: percent-encode the values of its parameters.")
	}
	return nil
}
