package daemon

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// sets are the published sets, in a directory or in a bucket.
type sets interface {
	jobs.Sets
	render.Sets
	httpapi.Sets

	Len() int
	Newest() time.Time
	Bytes() int64
	SetMaxBytes(int64)
	Full() <-chan struct{}
	DeleteOldest(ctx context.Context, reason string, enough func() bool) (deleted int, err error)
	Prune(ctx context.Context, r catalog.Retention, now time.Time) (deleted int, err error)
	Close() error
}

// openStore opens the store of published sets.
func (d *Daemon) openStore(ctx context.Context) error {
	if !d.config.Storage.S3.Enabled() {
		store, err := publish.Open(publish.Config{
			Dir: d.path("files"), Originals: d.path("originals"), KeepOriginals: d.config.Storage.KeepOriginals,
			Room: d.spool.Room,
		}, d.log.Named("publish"))
		if err != nil {
			return fmt.Errorf("storage.dir: %w", err)
		}
		d.store = store
		return nil
	}
	objects, err := s3.Open(d.config.Storage.S3, *d.config.Storage.S3Key, d.observeStore())
	if err != nil {
		return err
	}
	settings := bucket.Config{Dir: d.path(bucket.Folder), KeepOriginals: d.config.Storage.KeepOriginals}
	if d.fleet != nil {
		settings.Index = d.fleet.NewIndex()
	}
	store, err := bucket.Open(settings, objects, d.spool, d.log.Named("publish"))
	if err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	d.store = store
	if err := store.Probe(ctx); err != nil {
		return err
	}
	d.uploads = bucket.Uploads{Store: store}
	return nil
}

// finishDeletions deletes the rest of sets whose deletion was interrupted by the death
// of a node or by the store.
func (d *Daemon) finishDeletions() {
	remote, ok := d.store.(*bucket.Store)
	if !ok || remote.Check() != nil || !d.elected() {
		return
	}
	d.warn("cannot finish deletions", remote.FinishDeletions(d.running))
}

// sweepUploads deletes the sources in the object store that no job needs, once a
// day.
func (d *Daemon) sweepUploads(now time.Time) {
	const interval = 24 * time.Hour
	remote, ok := d.uploads.(bucket.Uploads)
	if !ok || !d.elected() || now.Sub(d.sweptUploads) < interval {
		return
	}
	d.sweptUploads = now
	remote.Sweep(d.service.Retryable, now)
}

// observeStore creates the metrics of the object store and returns the function that
// counts its requests.
func (d *Daemon) observeStore() s3.Observer {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "optimizerd_store_requests_total", Help: "Requests to the object store; status 0 means no response.",
	}, []string{"operation", "status"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "optimizerd_store_request_seconds", Help: "Time to the object store's response header.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
	}, []string{"operation"})
	d.storeMetrics = []prometheus.Collector{requests, seconds}
	return func(operation string, status int, took time.Duration) {
		requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
		seconds.WithLabelValues(operation).Observe(took.Seconds())
	}
}
