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
)

// entry is one webhook. It contains the complete job, since the queue's record
// may be deleted before the last attempt.
type entry struct {
	ID        string          `json:"id"`
	Job       json.RawMessage `json:"job"` // as encoded by package job, with this webhook only
	Attempts  int             `json:"attempts"`
	NextAt    strictjson.Time `json:"next_at"`
	CreatedAt strictjson.Time `json:"created_at"`
	LastError string          `json:"last_error,omitempty"` // for the operator

	job job.Job // decoded from Job
}

// folder is a directory of webhooks.
func folder(dir string) durable.Folder[entry] {
	return durable.OpenFolder(dir, durable.Format[entry]{ValidID: validID.MatchString, Encode: entry.encode, Decode: decode})
}

var validID = regexp.MustCompile(`^msg_[0-9a-hjkmnp-tv-z]{26}(_[0-9]+)?(_r[0-9]+)?$`)

// WebhookID returns an id that stays the same if the job is repeated after a
// crash, so that the receiver sees one event. A job that ends again, because
// someone retried it, is another event.
func WebhookID(j job.Job, target int) string {
	id := "msg_" + strings.TrimPrefix(j.ID, "job_")
	if target > 0 {
		id += "_" + strconv.Itoa(target+1)
	}
	if j.Retries > 0 {
		id += "_r" + strconv.Itoa(j.Retries)
	}
	return id
}

func newEntry(j job.Job, target int, now time.Time) entry {
	id := WebhookID(j, target)
	j.Webhooks = j.Webhooks[target : target+1 : target+1]
	j.RequestID = "" // only for the log, and version 0.1.0 does not read records that have it
	return entry{ID: id, job: j, NextAt: strictjson.At(now), CreatedAt: strictjson.At(now)}
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
	if e.ID != id || !strings.HasPrefix(id, WebhookID(job.Job{ID: e.job.ID}, 0)) || len(e.job.Webhooks) != 1 {
		return entry{}, fmt.Errorf("%.60q is not a webhook of %s", e.ID, e.job.ID)
	}
	return e, nil
}

func (e entry) url() string { return e.job.Webhooks[0].URL }

// item returns what scheduling needs of an entry. From now on its times are
// monotonic: the wall clock of a machine without an RTC may jump by years. For the
// same reason the entry's own times are trusted only within limits.
func (e entry) item(now time.Time) *item {
	wait := min(max(e.NextAt.Sub(now), 0), MaxWait)
	age := min(max(now.Sub(e.CreatedAt.Time), 0), GiveUpAfter)
	return &item{id: e.ID, retries: e.job.Retries, host: HostOf(e.url()), next: now.Add(wait), created: now.Add(-age)}
}

func (e entry) fields() []zap.Field {
	return []zap.Field{zap.String("webhook_id", e.ID), zap.String("job_id", e.job.ID)}
}

// HostOf returns the host and port of a URL.
func HostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "" // the attempt reports it
	}
	return egress.HostOf(u)
}
