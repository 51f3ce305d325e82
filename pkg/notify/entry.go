package notify

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
	"github.com/optimizerd/optimizerd/pkg/timestamp"
)

// entry is one webhook. It contains the complete job, since the queue's record
// may be deleted before the last attempt.
type entry struct {
	ID        string          `json:"id"`
	Job       json.RawMessage `json:"job"` // as encoded by package job, with this webhook only
	Attempts  int             `json:"attempts"`
	NextAt    timestamp.Time  `json:"next_at"`
	CreatedAt timestamp.Time  `json:"created_at"`
	LastError string          `json:"last_error,omitempty"` // for the operator

	job job.Job // decoded from Job
}

// folder is a directory of webhooks.
func folder(dir string) durable.Folder[entry] {
	return durable.OpenFolder(dir, durable.Format[entry]{ValidID: validID.MatchString, Encode: entry.encode, Decode: decode})
}

var validID = regexp.MustCompile(`^msg_[0-9a-hjkmnp-tv-z]{26}(_[0-9]+)?$`)

// webhookID returns an id that stays the same if the job is repeated after a
// crash, so that the receiver sees one event.
func webhookID(jobID string, target int) string {
	id := "msg_" + strings.TrimPrefix(jobID, "job_")
	if target > 0 {
		id += "_" + strconv.Itoa(target+1)
	}
	return id
}

func newEntry(j job.Job, target int, now time.Time) entry {
	id := webhookID(j.ID, target)
	j.Webhooks = j.Webhooks[target : target+1 : target+1]
	return entry{ID: id, job: j, NextAt: timestamp.At(now), CreatedAt: timestamp.At(now)}
}

func (e entry) encode() ([]byte, error) {
	b, err := e.job.Encode()
	if err == nil {
		e.Job = b
		b, err = json.Marshal(e)
	}
	if err != nil {
		return nil, fmt.Errorf("encode webhook %s: %w", e.ID, err)
	}
	return append(b, '\n'), nil
}

// decode refuses unknown fields, jobs that have not ended, and ids that do not
// belong to the job.
func decode(id string, b []byte) (e entry, err error) {
	if err := strictjson.Unmarshal(b, &e); err != nil {
		return entry{}, err
	}
	if e.job, err = job.Decode(e.Job); err != nil {
		return entry{}, err
	}
	if !e.job.Status.Ended() || e.job.FinishedAt == nil {
		return entry{}, fmt.Errorf("%s has not ended", e.job.ID)
	}
	if e.ID != id || !strings.HasPrefix(id, webhookID(e.job.ID, 0)) || len(e.job.Webhooks) != 1 {
		return entry{}, fmt.Errorf("%.60q is not a webhook of %s", e.ID, e.job.ID)
	}
	return e, nil
}

func (e entry) url() string { return e.job.Webhooks[0].URL }

func (e entry) item() *item { return &item{id: e.ID, host: hostOf(e.url()), next: e.NextAt.Time} }

func (e entry) fields() []zap.Field {
	return []zap.Field{zap.String("webhook_id", e.ID), zap.String("job_id", e.job.ID)}
}

// hostOf returns the host and port of a URL.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "" // the attempt reports it
	}
	return egress.HostOf(u)
}
