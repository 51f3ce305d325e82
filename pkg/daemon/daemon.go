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
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fetch"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/httpapi/signedurl"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/queue"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/spool"
	"github.com/optimizerd/optimizerd/pkg/thermal"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
	"github.com/optimizerd/optimizerd/pkg/tunnel/access"
)

// Daemon is the assembled service. New starts listening, Run serves.
type Daemon struct {
	config            config.Config
	log               *zap.Logger
	queue             *queue.Queue
	store             *publish.Store
	pool              *codec.Pool
	service           *jobs.Service
	outbox            *notify.Outbox
	fetcher           *fetch.Fetcher
	governor          *thermal.Governor
	receivers         *http.Client // for webhooks
	listener          net.Listener
	socket            net.Listener // for an external cloudflared; nil otherwise
	server            *http.Server
	tunnel            *tunnel.Tunnel   // nil unless embedded
	access            *access.Verifier // nil without Cloudflare Access
	lastSocketRequest atomic.Int64     // time of the last request over the socket, Unix seconds
	metrics           *metrics
	admin             net.Listener  // nil if disabled
	stopping          chan struct{} // closed when shutdown begins
}

// Limits for the phases of shutdown. systemd's TimeoutStopSec is longer than
// their sum.
const (
	drainTime  = 15 * time.Second // for requests in progress
	giveUpTime = 10 * time.Second // for jobs in progress; then they are returned to the queue
)

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
	d := &Daemon{config: c, log: log, stopping: make(chan struct{})}
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	d.queue, err = queue.Open(queue.Config{
		Dir: d.path("queue"), MaxPending: c.Queue.MaxPending, Keep: c.Jobs.Keep, Resolvers: c.Fetch.Concurrency,
	}, log.Named("queue"))
	if err != nil {
		return nil, fmt.Errorf("storage.dir: %w", err)
	}
	// Opening the spool sweeps it: not before the queue's lock is ours.
	uploads, err := spool.Open(spool.Config{
		Dir: d.path("spool"), MaxBytes: c.Limits.MaxBytes, MinFree: c.Storage.MinFree, Memory: c.Storage.UploadMemory,
	})
	if err != nil {
		return nil, fmt.Errorf("storage.dir: %w", err)
	}
	d.store, err = publish.Open(publish.Config{
		Dir: d.path("files"), Originals: d.path("originals"), KeepOriginals: c.Storage.KeepOriginals,
	}, log.Named("publish"))
	if err != nil {
		return nil, fmt.Errorf("storage.dir: %w", err)
	}
	d.pool, err = codec.NewPool(ctx, c.CodecConfig(), log.Named("codec"))
	if err != nil {
		return nil, err
	}
	about := d.pool.About()
	if !about.Sandbox.Seccomp || about.Sandbox.Memory == 0 {
		log.Warn("codec sandbox incomplete; run 'optimizerd doctor'", zap.Any("sandbox", about.Sandbox))
	}
	if err := d.dropFormats(about); err != nil {
		return nil, err
	}
	bad, err := quarantine.Open(d.path(quarantine.Folder), about.Libvips)
	if err != nil {
		return nil, fmt.Errorf("storage.dir: %w", err)
	}
	views := httpapi.Views{Store: d.store, PublicURL: c.HTTP.PublicURL, URLTTL: c.Files.URLTTL}
	if !c.Files.Public && len(c.Auth.Tokens) > 0 { // otherwise files are readable without a signature
		key, err := signedurl.LoadKey(d.path("url-key"))
		if err != nil {
			return nil, fmt.Errorf("storage.dir: %w", err)
		}
		views.Key = &key
	}
	rules := c.Fetch.Rules()
	rules.AllowHosts = nil // AllowHosts applies to images; receivers are named by token holders
	if err := d.openOutbox(views, rules); err != nil {
		return nil, err
	}
	d.fetcher = fetch.New(c.Fetch, uploads)
	d.governor = thermal.New("/", log.Named("thermal"))
	d.metrics = newMetrics(d)
	d.service, err = jobs.New(jobs.Config{
		Queue: d.queue,
		Sets:  d.store,
		Renderer: &render.Renderer{
			Engine: d.pool, LastResort: d.pool.Alone(), Store: d.store, Limits: c.LadderLimits(), Log: log.Named("jobs"),
			KeepTimings: c.Storage.KeepTimings,
		},
		Spool:      uploads,
		Fetcher:    d.fetcher,
		Quarantine: bad,
		Outbox:     d.outbox,
		Ladder:     d.config.Ladder,
		Writes:     about.Outputs,
		Stopping:   d.stopping,
		Throttle:   d.governor,
		Ended:      d.metrics.ended,
		Log:        log.Named("jobs"),
	})
	if err != nil {
		return nil, err
	}
	var checkAccess func(*http.Request) error
	if c.Tunnel.Access.TeamDomain != "" {
		d.access = access.New(c.Tunnel.Access)
		checkAccess = d.access.Check
	}
	handler, err := httpapi.New(c.HTTP, httpapi.Deps{
		Jobs:        d.service,
		Store:       d.store,
		Views:       views,
		Receivers:   receivers(c, rules),
		Tokens:      c.TokenStrings(),
		Access:      checkAccess,
		PublicFiles: c.Files.Public,
		Checks: map[string]func() (string, error){
			"queue":  func() (string, error) { return "", d.queue.Check() },
			"disk":   func() (string, error) { return "", uploads.CheckSpace(0) },
			"codec":  func() (string, error) { return unavailableFormats(about), d.pool.Check() },
			"tunnel": d.tunnelCheck(),
		},
		Stopping: d.stopping,
		Observe:  d.metrics.observe,
		Log:      log.Named("http"),
	})
	if err != nil {
		return nil, err
	}
	if err := d.openTunnel(handler); err != nil {
		return nil, err
	}
	d.server = &http.Server{
		Handler: d.markTunnelRequests(handler), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: zap.NewStdLog(log.Named("http")),
	}
	if err := d.listen(); err != nil {
		return nil, err
	}
	log.Info("ready to serve", zap.String("url", d.URL()), zap.String("admin", d.AdminURL()), zap.String("storage", c.Storage.Dir),
		zap.Bool("token_needed", len(c.Auth.Tokens) > 0), zap.String("recipe", d.config.Ladder.Recipe().ShortFingerprint()),
		zap.Int("images", d.store.Len()), zap.String("tunnel", string(c.Tunnel.Mode)), zap.Any("codec", about))
	return d, nil
}

// openOutbox opens the outbox and recovers the webhooks that an earlier process
// left.
func (d *Daemon) openOutbox(views httpapi.Views, rules egress.Rules) (err error) {
	d.receivers = egress.NewClient(rules, 0)
	d.outbox, err = notify.Open(notify.Config{Dir: d.path(notify.Folder), Secrets: d.config.WebhookSecrets()}, notify.Deps{
		Client: d.receivers,
		Body:   func(j job.Job) (any, error) { return views.Job(j, j.Webhooks[0].Base) },
		Permanent: func(err error) bool {
			var refused *egress.Refused
			return errors.As(err, &refused) && !refused.Address
		},
		Log: d.log.Named("notify"),
	})
	if err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	return d.outbox.Recover(func(jobID string) bool {
		_, active := d.queue.Ticket(jobID)
		return !active
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
	d.config.Ladder.Formats = writable
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

// Run serves until ctx ends, then shuts down in order. Accepted work is
// finished, or durable for the next start.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.release()
	giveUp, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	group, broken := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(d.server, d.listener) })
	if d.socket != nil {
		group.Go(func() error { return serve(d.server, d.socket) })
	}
	tunnelDone := make(chan struct{})
	group.Go(func() error {
		defer close(tunnelDone)
		if d.tunnel == nil {
			return nil
		}
		return d.tunnel.Run(broken, drainTime)
	})
	admin := &http.Server{
		Handler:           httpapi.Guard(adminHandler(d.metrics), d.config.Admin.Listen, d.config.TokenStrings(), d.config.HTTP.AllowedHosts...),
		ReadHeaderTimeout: readHeaderTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	if d.admin != nil {
		group.Go(func() error { return serve(admin, d.admin) })
	}
	workersDone := make(chan struct{})
	group.Go(func() error {
		defer close(workersDone)
		return d.service.Run(giveUp, d.config.Fetch.Concurrency, d.pool.Size())
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

func serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(limitConnections(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stop shuts down in order: not ready, the tunnel takes no new requests,
// requests drain, the queue is closed, running jobs end or return to the queue.
// release ends the codec processes.
func (d *Daemon) stop(tunnelDone, workersDone <-chan struct{}, giveUp context.CancelFunc) {
	d.log.Info("stopping")
	d.notify("STOPPING=1")
	close(d.stopping)

	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := d.server.Shutdown(drain); err != nil {
		d.log.Warn("requests cut off at shutdown", zap.Error(err))
		_ = d.server.Close() // the listener may be closed already
	}
	<-tunnelDone // it began to stop with ctx: unregistering takes at most 5 s, then it drains as long
	d.queue.Close()
	select {
	case <-workersDone:
	case <-time.After(giveUpTime):
		giveUp()
		<-workersDone
	}
	pending, _ := d.queue.Depth()
	d.log.Info("stopped", zap.Int("jobs_for_the_next_start", pending))
}

// release frees what New acquired; parts that were not created are nil.
func (d *Daemon) release() {
	if d.pool != nil {
		d.pool.Close()
	}
	for _, l := range []net.Listener{d.listener, d.socket, d.admin} {
		if l != nil {
			_ = l.Close() // the server may have closed it
		}
	}
	if d.fetcher != nil {
		d.fetcher.Close()
	}
	if d.access != nil {
		d.access.Close()
	}
	if d.receivers != nil {
		d.receivers.CloseIdleConnections()
	}
	if d.store != nil {
		d.warn("cannot close served directory", d.store.Close())
	}
	if d.queue != nil {
		d.warn("cannot close queue", d.queue.Unlock())
	}
}

func (d *Daemon) warn(what string, err error) {
	if err != nil {
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
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *Daemon) prune() {
	d.warn("cannot record ended jobs", d.service.Settle())
	d.warn("cannot prune jobs", d.queue.Prune(time.Now()))
	d.warn("cannot prune webhooks", d.outbox.Prune(time.Now(), d.config.Jobs.Keep))
	if d.config.Retention == (publish.Retention{}) {
		return
	}
	deleted, err := d.store.Prune(d.config.Retention, time.Now())
	d.warn("cannot prune images", err)
	if deleted > 0 {
		d.log.Info("images deleted by retention", zap.Int("deleted", deleted))
	}
}
