// Package job defines the record of a job, its states and the transitions
// between them. It is pure: package queue stores the records, package jobs
// executes them.
//
//	          Start            Complete
//	Pending ────────► Processing ────────► Completed
//	   ▲                  │  │
//	   └──────────────────┘  └──────────► Failed
//	         Return              Fail
//
// A pending job can Fail too, if it is canceled. Retry makes a failed job pending
// again.
//
// The source of an upload is known from the start; otherwise the job names its
// input, and Resolve sets the source.
package job

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Status is the state of a job. The values are those of the HTTP contract.
type Status string

// The states.
const (
	Pending    Status = "pending"    // accepted and durable
	Processing Status = "processing" // leased by a worker
	Completed  Status = "completed"  // its set is published
	Failed     Status = "failed"     // final, unless a person retries it
)

// ParseStatus returns the state of this name.
func ParseStatus(s string) (status Status, ok bool) {
	status = Status(s)
	return status, status == Pending || status == Processing || status.Ended()
}

// Ended reports whether s is final.
func (s Status) Ended() bool { return s == Completed || s == Failed }

// Source is the source of a job, in the spool under its digest.
type Source struct {
	SHA256   string `json:"sha256"` // lower-case hex
	Filename string `json:"filename,omitempty"`
	Bytes    int64  `json:"bytes"`
}

// Error is why a job failed, in words for its client.
type Error struct {
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
}

// Webhook is a receiver of a job's end.
type Webhook struct {
	URL  string `json:"url"`
	Base string `json:"base"` // scheme and host by which the client knows this server
}

// MaxWebhooks limits the webhooks of one job: they occupy no place in the queue, but
// space in its record and in the outbox.
const MaxWebhooks = 16

// Job is one record.
type Job struct {
	ID         string           `json:"id"`
	Status     Status           `json:"status"`
	Input      string           `json:"input,omitempty"` // what the client named: a URL, or image:{id}; "" for an upload
	Options    Options          `json:"options,omitzero"`
	Metadata   json.RawMessage  `json:"metadata,omitempty"`   // the client's JSON object
	Background bool             `json:"background,omitempty"` // executed only while nothing else waits
	RequestID  string           `json:"request_id,omitempty"` // of the request that submitted it, for the log; not stored on disk
	Webhooks   []Webhook        `json:"webhooks,omitempty"`   // receivers of the job's end
	Source     Source           `json:"source,omitzero"`      // zero until resolved
	Recipe     ladder.Recipe    `json:"recipe"`               // as configured when the job was accepted
	ImageID    string           `json:"image_id,omitempty"`   // id of the set; "" until resolved
	Error      *Error           `json:"error,omitempty"`
	Attempts   int              `json:"attempts"`
	Retries    int              `json:"retries,omitempty"` // how often it was retried after it had failed
	CreatedAt  strictjson.Time  `json:"created_at"`
	StartedAt  *strictjson.Time `json:"started_at,omitempty"`
	FinishedAt *strictjson.Time `json:"finished_at,omitempty"`
	Timings    ladder.Timings   `json:"timings,omitempty"` // of the stages so far; replaced, never modified
}

// New returns j as a pending job with an id. Ids sort by creation time.
func New(j Job, now time.Time) Job {
	j.ID = "job_" + strings.ToLower(ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String())
	j.Status = Pending
	j.CreatedAt = strictjson.At(now)
	return j
}

// imageScheme is the prefix of an input that names a stored image.
const imageScheme = "image:"

// ImageInput returns the id of the stored image that input names, if any.
func ImageInput(input string) (id string, ok bool) { return strings.CutPrefix(input, imageScheme) }

// Parent returns the id of the image that the job's set is a variant of, and is deleted
// with; "" if there is none.
func (j Job) Parent() string {
	if id, ok := ImageInput(j.Input); ok && j.Recipe.Single() && id != j.ImageID {
		return id
	}
	return ""
}

// Resolved reports whether the job's source is in the spool.
func (j Job) Resolved() bool { return j.Source.SHA256 != "" }

// Promised reports whether the client got the job's id before the job was queued,
// so that its end must be recorded.
func (j Job) Promised() bool { return j.Input != "" || len(j.Webhooks) > 0 || j.Retries > 0 }

var validID = regexp.MustCompile(`^job_[0-9a-hjkmnp-tv-z]{26}$`)

// ValidID reports whether s has the form of a job id.
func ValidID(s string) bool { return validID.MatchString(s) }

// Expired reports whether j ended longer ago than jobs are kept; keep 0 is forever.
func (j Job) Expired(keep time.Duration, now time.Time) bool {
	return keep > 0 && j.Status.Ended() && j.FinishedAt != nil && now.Sub(j.FinishedAt.Time) > keep
}

func (j *Job) step(from, to Status) error {
	if j.Status != from {
		return fmt.Errorf("job %s is %s and cannot become %s", j.ID, j.Status, to)
	}
	j.Status = to
	return nil
}

// Start moves a pending job to Processing.
func (j *Job) Start(now time.Time) error {
	if err := j.step(Pending, Processing); err != nil {
		return err
	}
	at := strictjson.At(now)
	j.StartedAt = &at
	j.Attempts++
	return nil
}

// Resolve sets the source of a running job.
func (j *Job) Resolve(source Source, imageID string) error {
	if j.Status != Processing || j.Resolved() {
		return fmt.Errorf("job %s is %s: cannot resolve its source", j.ID, j.Status)
	}
	j.Source, j.ImageID = source, imageID
	return nil
}

// AddTimings adds to the timings of the job's stages.
func (j *Job) AddTimings(t ladder.Timings) { j.Timings = j.Timings.Plus(t) }

// Return moves a running job back to Pending.
func (j *Job) Return() error {
	if err := j.step(Processing, Pending); err != nil {
		return err
	}
	j.StartedAt = nil
	return nil
}

// Complete ends a job whose set is published.
func (j *Job) Complete(now time.Time) error { return j.end(Completed, now) }

// Fail ends a job with an error. A pending job can only be canceled.
func (j *Job) Fail(cause *fault.Error, now time.Time) error {
	if j.Status == Pending && cause.Code == fault.Canceled {
		j.Status = Processing
	}
	if err := j.end(Failed, now); err != nil {
		return err
	}
	j.Error = &Error{Code: cause.Code, Message: cause.Detail}
	return nil
}

// Retry makes a failed job pending again. A job that names its input gets its
// source again.
func (j *Job) Retry() error {
	if err := j.step(Failed, Pending); err != nil {
		return err
	}
	j.Retries++
	j.Error, j.StartedAt, j.FinishedAt, j.Timings = nil, nil, nil, nil
	if j.Input != "" {
		j.Source, j.ImageID = Source{}, ""
	}
	return nil
}

// AddWebhook adds a receiver, unless the job has one with this URL: a client whose
// connection broke may come back another way, by another base. It returns a QueueFull
// fault if the job has too many.
func (j *Job) AddWebhook(w Webhook) (added bool, err error) {
	switch {
	case slices.ContainsFunc(j.Webhooks, func(o Webhook) bool { return o.URL == w.URL }):
		return false, nil
	case len(j.Webhooks) >= MaxWebhooks:
		return false, fault.New(fault.QueueFull, "This job already has the maximum of %d webhooks; submit it without webhook_url.", MaxWebhooks)
	}
	j.Webhooks = append(slices.Clip(j.Webhooks), w)
	return true, nil
}

func (j *Job) end(to Status, now time.Time) error {
	if err := j.step(Processing, to); err != nil {
		return err
	}
	at := strictjson.At(now)
	j.FinishedAt = &at
	return nil
}

// Encode returns the record in its stored form.
func (j Job) Encode() ([]byte, error) {
	b, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", j.ID, err)
	}
	return append(b, '\n'), nil
}

// Decode parses a stored record; unknown fields are errors.
func Decode(data []byte) (Job, error) { return decode(data, strictjson.Unmarshal) }

// DecodeShared parses a record that machines of other versions write, too; unknown
// fields are ignored.
func DecodeShared(data []byte) (Job, error) { return decode(data, json.Unmarshal) }

func decode(data []byte, unmarshal func([]byte, any) error) (Job, error) {
	var j Job
	if err := unmarshal(data, &j); err != nil {
		return Job{}, fmt.Errorf("decode job: %w", err)
	}
	if !ValidID(j.ID) {
		return Job{}, fmt.Errorf("decode job: %.40q is not a job id", j.ID)
	}
	if !j.Recipe.Valid() {
		return Job{}, fmt.Errorf("decode job: recipe is not valid")
	}
	if !j.Resolved() && j.Input == "" {
		return Job{}, fmt.Errorf("decode job: neither source nor input is set")
	}
	return j, nil
}
