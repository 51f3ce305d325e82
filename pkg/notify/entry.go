package notify

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/atomicfile"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
	"github.com/optimizerd/optimizerd/pkg/timestamp"
)

// entry is one webhook. It holds the whole job, since the queue's record may
// be gone by the last try.
type entry struct {
	ID        string          `json:"id"`
	URL       string          `json:"url"`
	Job       json.RawMessage `json:"job"` // package job's own form
	Attempts  int             `json:"attempts"`
	NextAt    timestamp.Time  `json:"next_at"`
	CreatedAt timestamp.Time  `json:"created_at"`
	LastError string          `json:"last_error,omitempty"` // for the operator

	job job.Job // what Job says
}

const suffix = ".json"

func (o *Outbox) path(id string) string { return filepath.Join(o.dir, id+suffix) }

// webhookID is the same for a job that is done again after a crash, so that a
// receiver sees one event.
func webhookID(jobID string, target int) string {
	id := "msg_" + strings.TrimPrefix(jobID, "job_")
	if target > 0 {
		id += "_" + strconv.Itoa(target+1)
	}
	return id
}

func newEntry(j job.Job, target int, now time.Time) entry {
	return entry{
		ID: webhookID(j.ID, target), URL: j.Webhooks[target], job: j,
		NextAt: timestamp.At(now), CreatedAt: timestamp.At(now),
	}
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

func (o *Outbox) write(e entry) error {
	b, err := e.encode()
	if err != nil {
		return err
	}
	return atomicfile.Write(o.path(e.ID), b)
}

func (o *Outbox) read(id string) (entry, error) {
	b, err := os.ReadFile(o.path(id))
	if err != nil {
		return entry{}, err
	}
	e, err := decode(b, id)
	if err != nil {
		return entry{}, fmt.Errorf("decode webhook: %w", err)
	}
	return e, nil
}

// decode refuses unknown fields, and an entry that is not of an ended job or
// not one of its webhooks.
func decode(b []byte, id string) (e entry, err error) {
	if err := strictjson.Unmarshal(b, &e); err != nil {
		return entry{}, err
	}
	if e.job, err = job.Decode(e.Job); err != nil {
		return entry{}, err
	}
	if !e.job.Status.Ended() || e.job.FinishedAt == nil {
		return entry{}, fmt.Errorf("%s has not ended", e.job.ID)
	}
	for target, u := range e.job.Webhooks {
		if e.ID == id && e.ID == webhookID(e.job.ID, target) && e.URL == u {
			return e, nil
		}
	}
	return entry{}, fmt.Errorf("%.60q is not a webhook of %s", e.ID, e.job.ID)
}

func (e entry) item() *item { return &item{id: e.ID, host: hostOf(e.URL), next: e.NextAt.Time} }

func (e entry) fields() []zap.Field {
	return []zap.Field{zap.String("webhook_id", e.ID), zap.String("job_id", e.job.ID)}
}

// hostOf is the host and port that a URL leads to.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "" // the try will say so
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
