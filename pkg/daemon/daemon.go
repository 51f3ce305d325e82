// Package daemon assembles the parts into a running service. Only
// cmd/optimizerd imports it.
//
//	tunnel ─┐
//	client ─► httpapi ─► jobs ─► queue ─► render ─► publish ─► files/<id>/…
//	                       ▲                  │   │
//	                     a URL                │   └──► notify ─► a webhook
//	                                      codec pool ═► optimizerd-codec × N
//
// It owns what belongs to no single part: listeners, the order of startup and
// shutdown, metrics, the log and systemd notifications.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/clock"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/durable/diskspace"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fetch"
	"github.com/optimizerd/optimizerd/pkg/filepages"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/spool"
	"github.com/optimizerd/optimizerd/pkg/status"
	"github.com/optimizerd/optimizerd/pkg/thermal"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
	"github.com/optimizerd/optimizerd/pkg/tunnel/access"
)

// Daemon is the assembled service. New starts listening, Run serves.
type Daemon struct {
	config            config.Config
	log               *zap.Logger
	queue             jobQueue
	fleet             *fleet.Fleet // nil without a fleet
	fleetLock         *durable.Lock
	elected           func() bool // whether this node applies retention
	store             sets
	uploads           jobs.Uploads           // nil without an object store
	sweptUploads      time.Time              // when its sources were last swept
	storeMetrics      []prometheus.Collector // of the object store, if there is one
	spool             *spool.Spool
	reserve           diskspace.Reserve // of the disk with the data folder
	clock             *clock.Guard
	retaining         sync.Mutex // held while retention deletes
	clockDoubted      bool       // the clock was implausible when last read; guarded by retaining
	pool              *codec.Pool
	service           *jobs.Service
	outbox            outbox
	fetcher           *fetch.Fetcher
	governor          *thermal.Governor
	receivers         *http.Client // for webhooks
	listener          net.Listener
	socket            net.Listener // for an external cloudflared; nil otherwise
	server            *http.Server
	requests          *drain
	tunnel            *tunnel.Tunnel   // nil unless embedded
	access            *access.Verifier // nil without Cloudflare Access
	lastSocketRequest atomic.Int64     // time of the last request over the socket, Unix seconds
	metrics           *metrics
	started           time.Time
	recent            *status.Recent
	parts             httpapi.Checks // of /readyz
	admin             net.Listener   // nil if disabled
	stopping          chan struct{}  // closed when shutdown begins

	running     context.Context // ends when shutdown begins, for work that may take long
	stopRunning context.CancelFunc
}

// readHeaderTimeout and idleTimeout cut off connections that send no request or
// no further request.
const (
	readHeaderTimeout = 10 * time.Second // to send the header of a request
	idleTimeout       = 2 * time.Minute  // between two requests
	maxHeaderBytes    = 16 << 10
	maxConnections    = 512 // to each listener; further ones wait to be accepted
)

// New creates every part, locks the directories, starts the first codec process
// and starts listening. Errors name the setting at fault.
func New(ctx context.Context, c config.Config, log *zap.Logger) (_ *Daemon, err error) {
	if err := c.Servable(); err != nil {
		return nil, err
	}
	c.Codec = c.CodecConfig() // once: queue and pool must agree on it
	d := &Daemon{config: c, stopping: make(chan struct{}), requests: newDrain(), started: time.Now(), recent: status.NewRecent()}
	d.log = log.WithOptions(zap.Hooks(d.noteError))
	d.running, d.stopRunning = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	if err := d.openStorage(ctx); err != nil {
		return nil, err
	}
	about, err := d.startCodec(ctx)
	if err != nil {
		return nil, err
	}
	d.describeNode(about)
	views, err := d.views()
	if err != nil {
		return nil, err
	}
	rules := c.WebhookRules()
	if err := d.openOutbox(ctx, views, rules); err != nil {
		return nil, err
	}
	d.fetcher = fetch.New(c.Fetch, d.spool)
	d.governor = thermal.New("/", d.log.Named("thermal"))
	d.metrics = newMetrics(d)
	if err := d.openService(about); err != nil {
		return nil, err
	}
	d.parts = d.checks(about)
	handler, err := d.newHandler(views, receivers(c, rules))
	if err != nil {
		return nil, err
	}
	if err := d.openTunnel(handler); err != nil {
		return nil, err
	}
	d.server = newServer(d.requests.wrap(d.markTunnelRequests(handler)), d.log.Named("http"))
	if err := d.listen(); err != nil {
		return nil, err
	}
	d.log.Info("ready to serve", zap.String("url", d.URL()), zap.String("admin", d.AdminURL()), zap.String("storage", c.Storage.Dir),
		zap.Bool("token_needed", len(c.Auth.Tokens) > 0), zap.String("recipe", d.config.Ladder.Recipe().ShortFingerprint()),
		zap.Int("images", d.store.Len()), zap.String("tunnel", string(c.Tunnel.Mode)), zap.Reflect("codec", about))
	return d, nil
}

// openStorage opens what is on disk, in the bucket or in the fleet: the queue, the
// spool, the sets and the clock.
func (d *Daemon) openStorage(ctx context.Context) (err error) {
	if err := d.openQueue(ctx); err != nil {
		return err
	}
	if err := backup.Complete(d.config.Storage.Dir); err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	// Sweeping, as opening the spool does, has to wait for the queue's lock.
	for _, file := range []string{"clock", "recipes", "url-key"} {
		if err := durable.Sweep(d.path(file)); err != nil {
			return fmt.Errorf("storage.dir: %w", err)
		}
	}
	d.reserve = diskspace.Reserve{Dir: d.config.Storage.Dir, MinFree: d.config.Storage.MinFree}
	d.spool, err = spool.Open(spool.Config{
		Dir: d.path("spool"), MaxBytes: d.config.Limits.MaxBytes, MinFree: d.config.Storage.MinFree, Memory: d.config.Storage.UploadMemory,
		MakeRoom: d.makeRoom, // called once the store is open
		Retry:    d.path("retry"), RetryBytes: d.config.Jobs.KeepBytes,
	})
	if err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	if err := d.openStore(ctx); err != nil {
		return err
	}
	d.store.SetMaxBytes(d.config.Retention.MaxBytes)
	if d.clock, err = clock.Open(d.path("clock"), buildinfo.Date()); err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	return nil
}

// startCodec starts the first codec process and removes the formats that it cannot
// write from the ladder.
func (d *Daemon) startCodec(ctx context.Context) (about codec.About, err error) {
	d.pool, err = codec.NewPool(ctx, d.config.CodecConfig(), d.log.Named("codec"))
	if err != nil {
		return about, err
	}
	about = d.pool.About()
	if !about.Sandbox.Seccomp || about.Sandbox.Memory == 0 {
		d.log.Warn("codec sandbox incomplete; run 'optimizerd doctor'", zap.Any("sandbox", about.Sandbox))
	}
	return about, d.dropFormats(about)
}

// views returns the API's views of jobs and sets.
func (d *Daemon) views() (httpapi.Views, error) {
	c := d.config
	views := httpapi.Views{Sets: d.store, PublicURL: c.HTTP.PublicURL, URLTTL: c.Files.URLTTL}
	if c.Files.Public || len(c.Auth.Tokens) == 0 { // files are readable without a signature
		return views, nil
	}
	key, err := d.urlKey()
	if err != nil {
		return views, err
	}
	views.Key = &key
	return views, nil
}

// openService connects the parts of job processing.
func (d *Daemon) openService(about codec.About) error {
	bad, crashes, err := d.openQuarantine(about.Libvips)
	if err != nil {
		return err
	}
	c, log := d.config, d.log.Named("jobs")
	var elsewhere func() []ladder.Format
	if d.fleet != nil {
		elsewhere = d.fleet.Outputs
	}
	history, err := render.OpenHistory(d.path("recipes"), c.Ladder.Recipe())
	if err != nil { // for example a full disk: uploads still work
		log.Warn("cannot record the ladder; new sets may lack replaces after its next change", zap.Error(err))
	}
	d.service, err = jobs.New(jobs.Config{
		Queue: d.queue,
		Sets:  d.store,
		Renderer: &render.Renderer{
			Engine: d.pool, Background: d.pool.Background(), LastResort: d.pool.Alone(), Sets: d.store, Limits: c.LadderLimits(), Log: log,
			Crashes: crashes, History: history, NotBefore: buildinfo.Date(), KeepTimings: c.Storage.KeepTimings, KeepTakenAt: c.Storage.KeepTakenAt,
		},
		Spool:      d.spool,
		Uploads:    d.uploads,
		Shared:     d.fleet != nil,
		Fetcher:    d.fetcher,
		Quarantine: bad,
		Outbox:     d.outbox,
		Ladder:     c.Ladder,
		Writes:     about.Outputs,
		Elsewhere:  elsewhere,
		Keep:       c.Jobs.Keep,
		Stopping:   d.stopping,
		Throttle:   d.governor,
		Ended: func(j job.Job) {
			d.metrics.ended(j)
			d.recent.Ended(j)
		},
		Log: log,
	})
	if err != nil {
		return err
	}
	d.connectQueue()
	return nil
}

// newHandler creates the HTTP API.
func (d *Daemon) newHandler(views httpapi.Views, receivers func(string) error) (http.Handler, error) {
	c := d.config
	var checkAccess func(*http.Request) error
	if c.Tunnel.Access.TeamDomain != "" {
		d.access = access.New(c.Tunnel.Access)
		checkAccess = d.access.Check
	}
	return httpapi.New(c.HTTP, httpapi.Deps{
		Jobs:        d.service,
		Sets:        d.store,
		Views:       views,
		MaxBytes:    c.Limits.MaxBytes,
		Receivers:   receivers,
		Tokens:      c.TokenStrings(),
		Access:      checkAccess,
		PublicFiles: c.Files.Public,
		Checks:      d.parts,
		Stopping:    d.stopping,
		Observe:     d.metrics.observe,
		Log:         d.log.Named("http"),
	})
}

// checks returns the parts of /readyz.
func (d *Daemon) checks(about codec.About) httpapi.Checks {
	checks := httpapi.Checks{
		"queue":  func() (string, error) { return "", d.queue.Check() },
		"disk":   func() (string, error) { return "", d.reserve.Check(0) },
		"codec":  func() (string, error) { return unavailableFormats(about), d.pool.Check() },
		"tunnel": d.tunnelCheck(),
	}
	if d.fleet != nil {
		checks["fleet"] = func() (string, error) { return d.fleet.Difference(), d.fleet.Reachable() }
	}
	if d.config.Storage.S3.Enabled() {
		checks["store"] = func() (string, error) { return "", d.store.Check() }
	}
	return checks
}

// openOutbox opens the outbox and recovers the webhooks that an earlier process
// left.
func (d *Daemon) openOutbox(ctx context.Context, views httpapi.Views, rules egress.Rules) (err error) {
	d.receivers = egress.NewClient(rules, 0)
	deps := notify.Deps{
		Client: d.receivers,
		Body:   func(j job.Job) (any, error) { return views.Job(j, j.Webhooks[0].Base) },
		Permanent: func(err error) bool {
			var refused *egress.Refused
			return errors.As(err, &refused) && !refused.Address
		},
		Log: d.log.Named("notify"),
	}
	if d.fleet != nil {
		return d.openFleetOutbox(ctx, deps)
	}
	local, err := notify.Open(notify.Config{Dir: d.path(notify.Folder), Secrets: d.config.WebhookSecrets()}, deps)
	if err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	d.outbox = local
	return local.Recover(func(jobID string, retries int) bool {
		t, active := d.queue.Ticket(jobID)
		return !active || retries < t.Job().Retries
	})
}

// receivers returns the check for webhook URLs, or nil if there is no signing
// secret.
func receivers(c config.Config, rules egress.Rules) func(string) error {
	if len(c.Webhook.Secrets) == 0 {
		return nil
	}
	return func(s string) error {
		u, err := url.Parse(s)
		if err != nil {
			return err
		}
		return rules.Check(u)
	}
}

// unavailableFormats returns a sentence about the features the codec lacks, or
// "".
func unavailableFormats(about codec.About) string {
	if len(about.Off) == 0 {
		return ""
	}
	return "This machine cannot " + strings.Join(about.Off, ", ") + "."
}

// dropFormats removes the formats that the codec cannot write from the ladder.
func (d *Daemon) dropFormats(about codec.About) error {
	if off := unavailableFormats(about); off != "" {
		d.log.Warn("some formats are unavailable; run 'optimizerd doctor'", zap.String("codec", off))
	}
	wanted, writable := d.config.Ladder.Formats, d.config.Ladder.Writable(about.Outputs)
	switch len(writable) {
	case len(wanted):
	case 0:
		return d.config.Ladder.CheckWritable(about.Outputs)
	default:
		d.log.Error("some of ladder.formats are disabled", zap.Any("wanted", wanted), zap.Any("made", writable))
	}
	d.config.Ladder = d.config.Ladder.WithFormats(writable)
	return nil
}

// noteError records logged errors for the status page.
func (d *Daemon) noteError(e zapcore.Entry) error {
	if e.Level >= zapcore.ErrorLevel {
		d.recent.Error(e.Time, e.Message)
	}
	return nil
}

func (d *Daemon) path(name string) string { return filepath.Join(d.config.Storage.Dir, name) }

// listen opens the listeners. A failure of the admin listener is only logged:
// metrics must not keep the service down.
func (d *Daemon) listen() (err error) {
	if d.listener, err = net.Listen("tcp", d.config.HTTP.Listen); err != nil {
		return fmt.Errorf("http.listen: %w. %s", err, httpapi.ListenAdvice(err))
	}
	if d.config.Tunnel.Mode == tunnel.External {
		if d.socket, err = tunnel.Listen(d.config.Tunnel.Socket); err != nil {
			return fmt.Errorf("tunnel.socket: %w", err)
		}
	}
	if d.config.Admin.Listen == "" {
		return nil
	}
	if d.admin, err = net.Listen("tcp", d.config.Admin.Listen); err != nil {
		d.log.Warn("metrics disabled: cannot listen on admin.listen", zap.Error(err), zap.String("advice", httpapi.ListenAdvice(err)))
	}
	return nil
}

// URL returns the URL of the API.
func (d *Daemon) URL() string { return "http://" + d.listener.Addr().String() }

// AdminURL returns the URL of the admin listener, or "".
func (d *Daemon) AdminURL() string {
	if d.admin == nil {
		return ""
	}
	return "http://" + d.admin.Addr().String()
}

// Run serves until ctx ends, then shuts down gracefully. Accepted work is
// finished, or durable for the next start.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.release()
	giveUp, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	group, broken := errgroup.WithContext(ctx)
	group.Go(func() error { return d.serve(d.server, d.listener) })
	if d.socket != nil {
		group.Go(func() error { return d.serve(d.server, d.socket) })
	}
	tunnelDone := make(chan struct{})
	group.Go(func() error {
		defer close(tunnelDone)
		if d.tunnel == nil {
			return nil
		}
		return d.tunnel.Run(broken, drainTime)
	})
	admin := newServer(httpapi.Guard(adminHandler(d), d.config.Admin.Listen, d.config.TokenStrings(), d.config.HTTP.AllowedHosts...), d.log.Named("admin"))
	if d.admin != nil {
		group.Go(func() error { return d.serve(admin, d.admin) })
	}
	workersDone := make(chan struct{})
	group.Go(func() error {
		defer close(workersDone)
		if !d.config.Fleet.Work {
			return nil
		}
		return d.service.Run(giveUp, d.config.Fetch.Concurrency, d.pool.Size(), d.pool.Most()-d.pool.Size())
	})
	deliverCtx, stopDelivery := context.WithCancel(giveUp)
	defer stopDelivery()
	group.Go(func() error { return d.outbox.Run(deliverCtx) })
	group.Go(func() error { return d.governor.Run(broken) })
	group.Go(func() error { return d.housekeeping(broken) })
	group.Go(func() error { return d.feedWatchdog(broken) })
	d.notify("READY=1")

	<-broken.Done()
	d.stop(tunnelDone, workersDone, cancel)
	stopDelivery()    // deliveries in flight end; the others stay in the outbox
	_ = admin.Close() // last, so that the shutdown can be observed
	return group.Wait()
}

// newServer returns a server with the limits that apply to every client.
func newServer(handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		DisableGeneralOptionsHandler: true, ErrorLog: zap.NewStdLog(log),
	}
}

func (d *Daemon) serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(limitConnections(l, maxConnections, d.log.Named("http"))); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// warn logs an error, unless it is that of work which the shutdown has ended.
func (d *Daemon) warn(what string, err error) {
	if err != nil && (d.running.Err() == nil || !errors.Is(err, context.Canceled)) {
		d.log.Warn(what, zap.Error(err))
	}
}

// housekeepingInterval is the time between two prunings of sets, jobs and
// webhooks.
const housekeepingInterval = 10 * time.Minute

// housekeeping prunes by retention and jobs.keep until ctx ends.
func (d *Daemon) housekeeping(ctx context.Context) error {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for {
		d.prune()
		for waiting := true; waiting; {
			select {
			case <-d.store.Full():
				d.retain()
			case <-ticker.C:
				waiting = false
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func (d *Daemon) prune() {
	d.warn("cannot record ended jobs", d.service.Settle())
	d.pruneRecords()
	d.warn("cannot delete kept sources", d.service.DeleteSources())
	d.finishDeletions()
	d.sweepUploads(time.Now())
	d.retain()
	filepages.Drop() // after the start, and after each interval
}
