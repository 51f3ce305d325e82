package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/intake"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/optimize"
	"github.com/optimizerd/optimizerd/pkg/queue"
)

// postImage accepts one image and responds with its manifest, or with its job.
func (a *api) postImage(w *response, r *http.Request) error {
	if err := onlyQuery(r, "filename", "webhook_url"); err != nil {
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
	// Everything that can be refused is refused before the body is read.
	place, err := a.admit(r)
	if err != nil {
		return err
	}
	defer place.Release()
	body := a.paced(w, r)
	prefer := parsePreference(r, a.SyncWait, a.SyncWait)
	receive := a.Spool.Receive
	if prefer.wait > 0 && webhook.URL == "" {
		receive = a.Spool.ReceiveInMemory // no id is returned before the set is published, so memory suffices
	}
	upload, err := a.receive(r, body, digest, receive)
	body.release()
	if err != nil {
		return err
	}
	defer upload.Discard()
	received := time.Now()
	submission, err := a.Optimize.Submit(place, upload, webhook)
	if err != nil {
		return err
	}
	return a.answerUpload(w, r, submission, prefer, received)
}

// formSlack is the allowed overhead of a form, in bytes.
const formSlack = 64 << 10

func (a *api) refuseWhenStopping() error {
	select {
	case <-a.Stopping:
		return fault.New(fault.ShuttingDown, "The server is shutting down; try again shortly.")
	default:
		return nil
	}
}

func (a *api) admit(r *http.Request) (*queue.Place, error) {
	if err := a.refuseWhenStopping(); err != nil {
		return nil, err
	}
	length := r.ContentLength
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType == formType {
		length -= formSlack // the part's own size is checked while it arrives
	}
	if err := a.Spool.CheckSize(length); err != nil {
		return nil, err
	}
	if err := a.Spool.CheckSpace(r.ContentLength); err != nil {
		return nil, err
	}
	return a.Queue.Reserve()
}

// receiveFunc stores a body in the spool.
type receiveFunc func(body io.Reader, filename string) (*intake.Upload, error)

// formType is the only media type that matters: it determines where the image
// starts.
const formType = "multipart/form-data"

// receive streams the image in the body to the spool, using into, and checks
// the body's digest if there is one.
func (a *api) receive(r *http.Request, body io.Reader, digest []byte, into receiveFunc) (*intake.Upload, error) {
	mediaType, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // any other type is ignored
	if mediaType != formType {
		upload, err := into(body, intake.CleanFilename(r.URL.Query().Get("filename")))
		if err != nil {
			return nil, err
		}
		return verified(upload, digest, upload.SHA256[:])
	}
	hash := sha256.New()
	if digest != nil {
		body = io.TeeReader(body, hash)
	}
	upload, err := receivePart(multipart.NewReader(body, params["boundary"]), into)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // bytes after the last part count for the digest
		upload.Discard()
		return nil, err
	}
	return verified(upload, digest, hash.Sum(nil))
}

func verified(upload *intake.Upload, want, got []byte) (*intake.Upload, error) {
	if want != nil && !bytes.Equal(want, got) {
		upload.Discard()
		return nil, fault.New(fault.DigestMismatch, "The SHA-256 of the body is %x, but Content-Digest is %x; send it again.", got, want)
	}
	return upload, nil
}

var errParts = fault.New(fault.InvalidRequest, "The form must contain exactly one part, a file.")

// receivePart receives the single file of a form.
func receivePart(form *multipart.Reader, into receiveFunc) (*intake.Upload, error) {
	part, err := form.NextPart()
	if err != nil {
		return nil, formFault(err)
	}
	if part.FileName() == "" {
		return nil, errParts
	}
	upload, err := into(part, intake.CleanFilename(part.FileName()))
	if err != nil {
		return nil, formFault(err)
	}
	if _, err := form.NextPart(); !errors.Is(err, io.EOF) {
		upload.Discard()
		if err == nil {
			return nil, errParts
		}
		return nil, formFault(err)
	}
	return upload, nil
}

// formFault returns faults of the body and the spool unchanged; errors of the
// form's parser are the client's.
func formFault(err error) error {
	var f *fault.Error
	var path *fs.PathError
	if errors.As(err, &f) || errors.As(err, &path) || fault.CodeOf(err) == fault.InsufficientStorage {
		return err
	}
	return fault.Wrap(fault.InvalidRequest, err, "The multipart form is malformed.")
}

// answerUpload waits for the job as long as the client prefers, and responds.
func (a *api) answerUpload(w *response, r *http.Request, s optimize.Submission, prefer preference, received time.Time) error {
	if s.Manifest != nil {
		w.Header().Set("Location", "/v1/images/"+s.Manifest.ID)
		return w.json(http.StatusOK, s.Manifest.WithURLs(a.base(r)))
	}
	j := a.wait(r.Context(), s.Ticket, prefer.wait)
	if err := r.Context().Err(); err != nil {
		return err // the job goes on; a repeated upload finds its result
	}
	if !j.Status.Ended() {
		var err error
		if j, err = a.Optimize.Announce(s.Ticket); err != nil {
			return err
		}
	}
	switch j.Status {
	case job.Completed:
		m, err := a.Store.Get(j.ImageID)
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
		return fault.New(j.Error.Code, "%s", j.Error.Message)
	default:
		prefer.acknowledge(w)
		return a.answerAccepted(w, r, j)
	}
}

// wait returns the job when it has ended, or its current state when longest has
// passed or the daemon stops.
func (a *api) wait(ctx context.Context, t *queue.Ticket, longest time.Duration) job.Job {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-a.Stopping:
			cancel()
		case <-stopped:
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

// onlyQuery refuses unknown query parameters.
func onlyQuery(r *http.Request, allowed ...string) error {
	for key := range r.URL.Query() {
		if !slices.Contains(allowed, key) {
			return fault.New(fault.InvalidRequest, "Unknown query parameter %q.", key)
		}
	}
	return nil
}
