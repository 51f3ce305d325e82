package daemon

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/status"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

//go:embed status.html
var statusHTML string

var statusPage = template.Must(template.New("status").Parse(statusHTML))

// status reports what the daemon is doing. It reads only memory, the free space of
// the disk, and /proc of the codec processes.
func (d *Daemon) status() status.Report {
	r := status.Report{
		Version: buildinfo.Version(), StartedAt: strictjson.At(d.started), At: strictjson.At(time.Now()),
		Images: d.store.Len(), Waiting: d.queue.Lanes(), Running: []status.Running{}, Parts: make(map[string]status.Part),
		Hot: d.governor.Hot(),
	}
	select {
	case <-d.stopping:
		r.Stopping = true
	default:
	}
	for name, check := range d.parts {
		r.Parts[name] = part(check)
	}
	active := make(map[string]job.Job)
	for _, j := range d.queue.Active() {
		active[j.ID] = j
		if j.Status != job.Processing || j.StartedAt == nil {
			continue
		}
		phase := "render"
		if !j.Resolved() {
			phase = "fetch"
		}
		r.Running = append(r.Running, status.Running{
			JobID: j.ID, Phase: phase, Filename: j.Source.Filename, Input: j.Input, Bytes: j.Source.Bytes, Since: *j.StartedAt,
		})
	}
	slices.SortFunc(r.Running, func(a, b status.Running) int { return a.Since.Compare(b.Since.Time) })
	r.Codec = d.codecStatus(active)
	r.Disk.Free, r.Disk.Total, r.Disk.Reserved, _ = d.reserve.Usage() // 0 if unknown; /readyz says why
	if r.Disk.MaxBytes = d.config.Retention.MaxBytes; r.Disk.MaxBytes > 0 {
		r.Disk.Sets = d.store.Bytes()
	}
	if reading := d.governor.Last(); reading.Known() {
		r.Board = reading.String()
	}
	webhooks := d.outbox.Stats()
	r.Outbox = status.Outbox{Waiting: webhooks.Pending, Delivered: webhooks.Delivered, GivenUp: webhooks.GivenUp}
	d.recent.Fill(&r)
	return r
}

// codecStatus reports what each codec process is doing for the active jobs.
func (d *Daemon) codecStatus(active map[string]job.Job) status.Codec {
	counts := d.pool.Stats()
	c := status.Codec{
		Processes: d.pool.Most(), Started: counts.Started, Crashed: counts.Crashed, Libvips: d.pool.About().Libvips, Running: []status.Process{},
	}
	for _, child := range d.pool.Children() {
		j := active[child.Work] // unknown if it has just ended
		c.Running = append(c.Running, status.Process{
			PID: child.PID, Background: child.Background, Busy: child.Busy, JobID: child.Work, ImageID: j.ImageID, Filename: j.Source.Filename, Input: j.Input,
			Since: strictjson.At(child.Since), Images: child.Images, Memory: child.Resident,
		})
	}
	return c
}

// part returns the state of a part from its readiness check, which is nil if it is off.
func part(check func() (string, error)) status.Part {
	if check == nil {
		return status.Part{Status: "off"}
	}
	detail, err := check()
	if err != nil {
		return status.Part{Status: "not_ready", Detail: fault.From(err).Detail}
	}
	return status.Part{Status: "ready", Detail: detail}
}

// retryWebhook makes a webhook due now. Unlike the status page it changes
// something, so it needs a token if there are any.
func (d *Daemon) retryWebhook(w http.ResponseWriter, r *http.Request) {
	if err := d.outbox.Retry(r.PathValue("id")); err != nil {
		d.warn("cannot retry webhook", err)
		httpapi.Refuse(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// serveStatus registers the status page. It changes nothing.
func (d *Daemon) serveStatus(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", d.getStatusPage)
	mux.HandleFunc("GET "+status.Path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(d.status()) // the client is gone
	})
	mux.HandleFunc("GET /thumbnails/{id}", d.getThumbnail)
}

func (d *Daemon) getStatusPage(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", fmt.Sprintf("default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%[1]s'; img-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'", nonce))
	_ = statusPage.Execute(w, nonce) // the client is gone
}

// getThumbnail serves the smallest file of a set.
func (d *Daemon) getThumbnail(w http.ResponseWriter, r *http.Request) {
	if err := d.writeThumbnail(r.Context(), w, r.PathValue("id")); err != nil {
		httpapi.Refuse(w, r, err)
	}
}

func (d *Daemon) writeThumbnail(ctx context.Context, w http.ResponseWriter, id string) error {
	m, err := d.store.Get(id)
	if err != nil {
		return err
	}
	if len(m.Variants) == 0 {
		return fault.New(fault.NotFound, "The image has no file.")
	}
	smallest := slices.MinFunc(m.Variants, func(a, b manifest.Variant) int { return int(a.Bytes - b.Bytes) })
	f, v, err := d.store.Open(ctx, id, smallest.Name())
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", v.ContentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "private, max-age=3600")
	_, _ = io.Copy(w, f) // the client is gone
	return nil
}
