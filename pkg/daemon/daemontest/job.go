package daemontest

import (
	"net/http"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// Job is a job as defined by the contract.
type Job struct {
	ID       string
	Object   string
	Kind     string
	Status   string
	Input    string
	Options  map[string]any
	Metadata map[string]any
	Output   *struct {
		Manifest manifest.Manifest
		URL      string
	}
	Error *struct {
		Code    string
		Message string
	}
	Attempts   int
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// Job decodes a job from a response with this status.
func (a Answer) Job(t *testing.T, status int) Job {
	t.Helper()
	var j Job
	a.Decode(t, &j, status)
	if j.Object != "job" || j.Kind != "image" || j.Options == nil || j.Metadata == nil {
		t.Errorf("object %q, kind %q, options %v, metadata %v; want job, image and two objects", j.Object, j.Kind, j.Options, j.Metadata)
	}
	if ended := j.Status == "completed" || j.Status == "failed"; ended == (a.Header.Get("Retry-After") != "") || ended != (j.FinishedAt != nil) {
		t.Errorf("a %s job with Retry-After %q and finished_at %v", j.Status, a.Header.Get("Retry-After"), j.FinishedAt)
	}
	return j
}

// Submit uploads with respond-async and returns the job.
func (c *Client) Submit(image []byte) Job {
	c.T.Helper()
	a := c.Upload(image, Header("Prefer", "respond-async"))
	j := a.Job(c.T, http.StatusAccepted)
	if got, want := a.Header.Get("Location"), "/jobs/"+j.ID; got != want {
		c.T.Errorf("Location is %q, want %q", got, want)
	}
	return j
}

// AwaitJob waits for a job by long poll, as a client does.
func (c *Client) AwaitJob(id string) Job {
	c.T.Helper()
	deadline := time.Now().Add(Patience)
	for {
		j := c.Get("/jobs/"+id, Header("Prefer", "wait=5")).Job(c.T, http.StatusOK)
		if j.FinishedAt != nil {
			return j
		}
		if time.Now().After(deadline) {
			c.T.Fatalf("job %s is still %s after %v", id, j.Status, Patience)
		}
	}
}
