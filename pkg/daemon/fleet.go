package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/httpapi/signedurl"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/queue"
	"github.com/optimizerd/optimizerd/pkg/render"
)

// jobQueue is the queue, in a directory or of a fleet.
type jobQueue interface {
	jobs.Queue

	Depth() (pending, running int)
	Lanes() map[string]int
	Check() error
	Prune(now time.Time) error
	Close()
	Unlock() error
}

// outbox delivers webhooks, from a directory or for a fleet.
type outbox interface {
	jobs.Outbox

	Run(ctx context.Context) error
	Stats() notify.Stats
	Retry(id string) error
	Prune(now time.Time, keep time.Duration) error
}

// fleetFolder is the directory of this node's identity in a fleet.
const fleetFolder = "fleet"

// openQueue opens the queue, and connects to the fleet if there is one.
func (d *Daemon) openQueue(ctx context.Context) error {
	c := d.config
	d.elected = func() bool { return true }
	if !c.Fleet.Enabled() {
		local, err := queue.Open(queue.Config{
			Dir: d.path("queue"), MaxPending: c.Queue.MaxPending, Keep: c.Jobs.Keep, Resolvers: c.Fetch.Concurrency,
			Dedicated: c.CodecConfig().Dedicated,
		}, d.log.Named("queue"))
		if err != nil {
			return fmt.Errorf("storage.dir: %w", err)
		}
		d.queue = local
		return nil
	}
	identity, err := d.identity()
	if err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	options := c.FleetOptions()
	options.Identity, options.Log = identity, d.log.Named("fleet")
	f, err := fleet.Open(ctx, options)
	if err != nil {
		return err
	}
	shared, err := f.NewQueue(ctx)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	d.fleet, d.queue, d.elected = f, shared, f.Elected
	return nil
}

// identity returns the unique id of this data directory, and locks it against a
// second process.
func (d *Daemon) identity() (string, error) {
	dir := d.path(fleetFolder)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	lock, err := durable.LockDir(dir)
	if err != nil {
		return "", err
	}
	d.fleetLock = lock
	path := filepath.Join(dir, "identity")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(rand.Text())
		err = durable.Write(path, b)
	}
	return string(b), err
}

// openQuarantine opens the quarantine for this version of libvips, and in a fleet the
// count of crashes on all nodes.
func (d *Daemon) openQuarantine(libvips string) (jobs.Quarantine, render.Crashes, error) {
	if d.fleet != nil {
		shared := d.fleet.NewQuarantine(libvips)
		return shared, shared, nil
	}
	bad, err := quarantine.Open(d.path(quarantine.Folder), libvips)
	if err != nil {
		return nil, nil, fmt.Errorf("storage.dir: %w", err)
	}
	return bad, nil, nil
}

// urlKey returns the key that signs file URLs.
func (d *Daemon) urlKey() (signedurl.Key, error) {
	if d.fleet != nil {
		return d.fleet.URLKey()
	}
	key, err := signedurl.LoadKey(d.path("url-key"))
	if err != nil {
		return key, fmt.Errorf("storage.dir: %w", err)
	}
	return key, nil
}

// openFleetOutbox opens the outbox of the fleet.
func (d *Daemon) openFleetOutbox(ctx context.Context, deps notify.Deps) error {
	sender, err := notify.NewSender(d.config.WebhookSecrets(), deps)
	if err != nil {
		return err
	}
	shared, err := d.fleet.NewOutbox(ctx, sender)
	if err != nil {
		return err
	}
	d.outbox = shared
	return nil
}

// connectQueue connects the queue of a fleet with the service and the store.
func (d *Daemon) connectQueue() {
	if shared, ok := d.queue.(*fleet.Queue); ok {
		shared.OnEnd(d.service.EndedElsewhere)
		shared.OnlyWhile(d.store.Check)
	}
}

// describeNode reports to the fleet what this node can do.
func (d *Daemon) describeNode(about codec.About) {
	if d.fleet == nil {
		return
	}
	c := d.config
	d.fleet.Describe(fleet.Abilities{
		Engine: about.Engine, Libvips: about.Libvips, Outputs: about.Outputs, Off: about.Off,
		MaxBytes: c.Limits.MaxBytes, MaxPixels: c.Limits.MaxPixels, MaxFrames: c.Limits.MaxFrames, MaxMemory: c.Limits.MaxMemory,
		Recipe: c.Ladder.Recipe().ShortFingerprint(), Store: fleet.StoreName(c.Storage.S3.Endpoint, c.Storage.S3.Bucket),
		Shared: fmt.Sprintf("queue.max_pending %d, jobs.keep %v, retention.max_age %v, retention.max_bytes %d",
			c.Queue.MaxPending, c.Jobs.Keep, c.Retention.MaxAge, c.Retention.MaxBytes),
	})
}

// drainNode stops this node from taking jobs, or resumes with ?end=1, and answers
// with the number of jobs that it still has.
func (d *Daemon) drainNode(w http.ResponseWriter, r *http.Request) {
	shared, ok := d.queue.(*fleet.Queue)
	if !ok {
		httpapi.Refuse(w, r, fault.New(fault.Conflict, "This machine is not in a fleet: fleet.servers is empty."))
		return
	}
	var state fleet.DrainState
	state.Leases = shared.Drain(r.URL.Query().Get("end") == "")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(state) // the client is gone
}

// fleetMetrics returns the collectors of a fleet, none without a fleet.
func (d *Daemon) fleetMetrics() []prometheus.Collector {
	shared, ok := d.queue.(*fleet.Queue)
	sets, inBucket := d.store.(*bucket.Store)
	if !ok || !inBucket {
		return nil
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "optimizerd_fleet_up", Help: "1 while connected to a NATS server with a quorum."}, func() float64 {
			if d.fleet.Reachable() != nil {
				return 0
			}
			return 1
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "optimizerd_fleet_nodes", Help: "Live nodes of the fleet."}, func() float64 {
			nodes, err := d.fleet.Nodes()
			if err != nil {
				return 0
			}
			return float64(len(nodes))
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "optimizerd_fleet_redeliveries_total", Help: "Job messages that were redelivered."}, func() float64 {
			return float64(shared.Counts().Redelivered)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "optimizerd_fleet_adopted_objects_total", Help: "Files of sets that another node had already stored in the bucket."}, func() float64 {
			return float64(sets.Adopted())
		}),
		passedJobs("level", func() int64 { return shared.Counts().Newer }),
		passedJobs("ability", func() int64 { return shared.Counts().Unable }),
	}
}

func passedJobs(why string, count func() int64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "optimizerd_fleet_passed_total", Help: "Jobs passed on to other nodes, by reason.", ConstLabels: prometheus.Labels{"why": why}}, func() float64 {
		return float64(count())
	})
}
