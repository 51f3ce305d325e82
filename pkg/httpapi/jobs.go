package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/dunglas/httpsfv"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Limits on parts of a job description, in bytes. Descriptions are kept in
// memory while their jobs wait.
const (
	maxDescription = 64 << 10
	maxURL         = 4 << 10
	maxMetadata    = 4 << 10
)

// jobRequest is the body of POST /jobs.
type jobRequest struct {
	Input      string          `json:"input"`
	Kind       *string         `json:"kind"`
	Options    job.Options     `json:"options"`
	WebhookURL string          `json:"webhook_url"`
	Metadata   json.RawMessage `json:"metadata"`
}

var errDescription = fault.New(fault.TooLarge, "The job description exceeds %d bytes; upload images to /v1/images.", maxDescription)

// postJob accepts a job whose input is a URL or a stored image.
func (a *api) postJob(w *response, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	if err := checkEncoding(r); err != nil {
		return err
	}
	// A web page can send some other types across origins without a preflight.
	if mediaType(r) != "application/json" {
		return fault.New(fault.UnsupportedFormat, "Send the job as JSON, with Content-Type: application/json.")
	}
	request, err := a.readJobRequest(w, r)
	if err != nil {
		return err
	}
	ticket, err := a.Jobs.Request(job.Job{Input: request.Input, Options: request.Options, Metadata: request.Metadata, Background: background(r), RequestID: w.requestID},
		job.Webhook{URL: request.WebhookURL, Base: a.ownBase(r)})
	if err != nil {
		return err
	}
	return a.answerAccepted(w, r, ticket.Job())
}

// background reports whether the client requests the lowest priority (RFC 9218:
// urgency 7 is for background tasks). An invalid header is ignored, as the RFC
// requires.
func background(r *http.Request) bool {
	dictionary, err := httpsfv.UnmarshalDictionary(r.Header.Values("Priority"))
	if err != nil {
		return false
	}
	urgency, ok := member(dictionary, "u")
	return ok && urgency.Value == int64(7)
}

// answerAccepted responds 202 with the job and its location.
func (a *api) answerAccepted(w *response, r *http.Request, j job.Job) error {
	w.Header().Set("Location", "/jobs/"+j.ID)
	w.note(zap.String("job_id", j.ID))
	return a.answerJob(w, r, http.StatusAccepted, j)
}

func (a *api) answerJob(w *response, r *http.Request, status int, j job.Job) error {
	if !j.Status.Ended() {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterJob))
	}
	view, err := a.Views.Job(j, a.ownBase(r))
	if err != nil {
		return err
	}
	return w.json(status, view)
}

func (a *api) readJobRequest(w *response, r *http.Request) (jobRequest, error) {
	body := a.paced(w, r, maxDescription, errDescription)
	b, err := io.ReadAll(body)
	body.release()
	if err != nil {
		return jobRequest{}, err
	}
	var request jobRequest
	if err = strictjson.Members(b, "input", "kind", "options", "webhook_url", "metadata"); err == nil {
		err = strictjson.Unmarshal(b, &request)
	}
	if err != nil {
		return jobRequest{}, jsonFault(err)
	}
	return request, a.checkJobRequest(&request)
}

func (a *api) checkJobRequest(request *jobRequest) error {
	if request.Kind != nil && *request.Kind != kindImage {
		return fault.New(fault.InvalidRequest, "kind must be image.")
	}
	if err := checkInput(request.Input); err != nil {
		return err
	}
	if bytes.Equal(request.Metadata, []byte("null")) {
		request.Metadata = nil
	}
	switch {
	case len(request.Metadata) > maxMetadata:
		return fault.New(fault.InvalidRequest, "metadata must be at most %d bytes.", maxMetadata)
	case request.Metadata != nil && request.Metadata[0] != '{':
		return fault.New(fault.InvalidRequest, "metadata must be a JSON object.")
	}
	return a.checkWebhook(request.WebhookURL)
}

func checkInput(input string) error {
	id, isImage := job.ImageInput(input)
	switch {
	case input == "":
		return fault.New(fault.InvalidRequest, "input is required: an http(s) URL, or image:{id} of a stored image.")
	case isImage && !ladder.ValidID(id):
		return fault.New(fault.InvalidRequest, "input: image: must be followed by an image id.")
	case isImage:
		return nil
	default:
		return checkURL("input", input)
	}
}

// checkWebhook also accepts "", which means no webhook.
func (a *api) checkWebhook(webhook string) error {
	const name = "webhook_url"
	if webhook == "" {
		return nil
	}
	if a.Receivers == nil {
		return fault.New(fault.InvalidRequest, "%s: this server does not send webhooks; its operator can set webhook.secrets.", name)
	}
	if err := checkURL(name, webhook); err != nil {
		return err
	}
	err := a.Receivers(webhook)
	var refused *egress.Refused
	if errors.As(err, &refused) {
		return fault.Wrap(fault.InvalidRequest, err, "%s: %s", name, refused.Reason)
	}
	return err
}

// checkURL checks only the form of a URL; its destination is checked when it is
// dialed.
func checkURL(name, s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil, len(s) > maxURL, u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return fault.New(fault.InvalidRequest, "%s must be a URL like https://www.example.com/cat.jpg, at most %d bytes long.", name, maxURL)
	case u.User != nil:
		return fault.New(fault.InvalidRequest, "%s must not contain a user name or password.", name)
	default:
		return nil
	}
}

// jsonFault returns a fault that describes an invalid JSON body.
func jsonFault(err error) error {
	var f *fault.Error
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var member *strictjson.MemberError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &member):
		return fault.New(fault.InvalidRequest, "%s.", member)
	case errors.As(err, &syntax):
		return fault.Wrap(fault.InvalidRequest, err, "The body is not valid JSON: syntax error at byte %d.", syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		return fault.Wrap(fault.InvalidRequest, err, "%s must not be a JSON %s.", kind.Field, kind.Value)
	default:
		return fault.Wrap(fault.InvalidRequest, err, "The body must be a single JSON object that describes a job.")
	}
}

// getJob returns a job; with Prefer: wait=N it waits for the end of the job.
func (a *api) getJob(w *response, r *http.Request) error {
	id := r.PathValue("id")
	j, err := a.Jobs.Get(id)
	if err != nil {
		return err
	}
	if prefer := parsePreference(r, 0, a.SyncWait); prefer.wait > 0 {
		t, active := a.Jobs.Ticket(id)
		if active { // also while its end is being recorded
			a.wait(r.Context(), t, prefer.wait)
		}
		if active || !j.Status.Ended() {
			if j, err = a.Jobs.Get(id); err != nil {
				return err
			}
			prefer.acknowledge(w)
		}
	}
	return a.answerJob(w, r, http.StatusOK, j)
}
