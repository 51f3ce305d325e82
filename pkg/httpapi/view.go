package httpapi

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/httpapi/signedurl"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Views converts jobs to their API representation, for responses and webhooks.
type Views struct {
	Sets      Sets
	PublicURL string         // base of URLs; "" uses the base by which the client knows the server
	Key       *signedurl.Key // signs the URLs of outputs; nil if files are public
	URLTTL    time.Duration  // lifetime of signed URLs
}

// JobView is the API representation of a job.
type JobView struct {
	ID         string           `json:"id"`
	Object     string           `json:"object"`
	Kind       string           `json:"kind"`
	Status     job.Status       `json:"status"`
	Input      string           `json:"input"` // as submitted; for an upload, "upload:" and the SHA-256 of the bytes
	Options    job.Options      `json:"options"`
	Metadata   json.RawMessage  `json:"metadata"`
	Output     any              `json:"output"` // *ladderOutput, *variantOutput or null
	Error      *job.Error       `json:"error"`
	Attempts   int              `json:"attempts"`
	CreatedAt  strictjson.Time  `json:"created_at"`
	StartedAt  *strictjson.Time `json:"started_at"`
	FinishedAt *strictjson.Time `json:"finished_at"`
}

// ladderOutput is the output of a job for a ladder.
type ladderOutput struct {
	Manifest manifest.Manifest `json:"manifest"`
	URL      string            `json:"url"` // URL of the manifest file
}

// variantOutput is the output of a job for a single variant.
type variantOutput struct {
	URL         string        `json:"url"`
	Width       int           `json:"width"`
	Height      int           `json:"height"`
	Format      ladder.Format `json:"format"`
	ContentType string        `json:"content_type"`
	Bytes       int64         `json:"bytes"`
	SHA256      string        `json:"sha256"`
}

const (
	objectJob = "job"
	kindImage = "image"
)

// Job returns the representation of j, with its output unless that was deleted.
// base is the scheme and host as the client knows the server. Errors are I/O
// errors.
func (v Views) Job(j job.Job, base string) (JobView, error) {
	view := JobView{
		ID: j.ID, Object: objectJob, Kind: kindImage, Status: j.Status, Input: j.Input, Options: j.Options, Metadata: j.Metadata,
		Error: j.Error, Attempts: j.Attempts, CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt,
	}
	if j.Input == "" {
		view.Input = "upload:" + j.Source.SHA256
	}
	if view.Metadata == nil {
		view.Metadata = json.RawMessage("{}")
	}
	if j.Status != job.Completed {
		return view, nil
	}
	m, err := v.Sets.Get(j.ImageID)
	switch {
	case err == nil:
		view.Output = v.output(m, j.Recipe.Single(), v.Base(base))
	case fault.CodeOf(err) != fault.NotFound:
		return view, err
	}
	return view, nil
}

// Base returns the base of URLs for a client that knows the server as own.
func (v Views) Base(own string) string {
	if v.PublicURL != "" {
		return strings.TrimRight(v.PublicURL, "/")
	}
	return own
}

func (v Views) output(m manifest.Manifest, single bool, base string) any {
	if !single || len(m.Variants) == 0 {
		return &ladderOutput{Manifest: m.WithURLs(base), URL: v.fileURL(base, m.ID+"/"+manifest.FileName)}
	}
	made := m.Variants[0]
	return &variantOutput{
		URL: v.fileURL(base, made.Key), Width: made.Width, Height: made.Height,
		Format: made.Format, ContentType: made.ContentType, Bytes: made.Bytes, SHA256: made.SHA256,
	}
}

// fileURL returns a URL that requires no token.
func (v Views) fileURL(base, key string) string {
	path := "/files/" + key
	if v.Key == nil {
		return base + path
	}
	return base + path + "?" + v.Key.Sign(path, time.Now().Add(v.URLTTL))
}
