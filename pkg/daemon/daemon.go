// Package daemon assembles the parts into a running service. Nothing imports
// it but cmd/optimizerd, and daemontest for tests.
//
//	tunnel ─┐
//	client ─► httpapi ─► jobs ─► queue ─► render ─► publish ─► files/<id>/…
//	                       ▲                  │   │
//	                     a URL                │   └──► notify ─► a webhook
//	                                      codec pool ═► optimizerd-codec × N
//
// It owns what no part does alone: listeners, the order of starting and
// stopping, metrics, the log, and the talk with systemd.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/access"
	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/fetch"
	"github.com/optimizerd/optimizerd/pkg/httpapi"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/queue"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/signedurl"
	"github.com/optimizerd/optimizerd/pkg/spool"
	"github.com/optimizerd/optimizerd/pkg/thermal"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

// Daemon is the assembled service. New starts it listening, Run serves.
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
	socket            net.Listener // for a cloudflared beside the daemon; nil unless the tunnel is external
	server            *http.Server
	tunnel            *tunnel.Tunnel   // nil unless it is embedded
	access            *access.Verifier // nil if Cloudflare Access is not asked
	lastSocketRequest atomic.Int64     // when a request last came over the socket, Unix seconds
	metrics           *metrics
	admin             net.Listener  // nil when it is off
	stopping          chan struct{} // closed when the daemon begins to stop
}

// The longest that each step of stopping may take. systemd's TimeoutStopSec is
// longer than their sum.
const (
	drainTime  = 15 * time.Second // of the requests at hand
	giveUpTime = 10 * time.Second // of the jobs at hand; then they go back to the queue
)

// Bounds on what a client without a token can hold of the daemon.
const (
	readHeaderTimeout = 10 * time.Second // to send the header of a request
	idleTimeout       = 2 * time.Minute  // between two requests
	maxHeaderBytes    = 16 << 10
	maxConnections    = 512 // to each listener; further ones wait to be accepted
)

// New builds every part, takes the folders, starts the first codec process and
// listens. An error names the setting to look at.
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
	if !c.Files.Public && len(c.Auth.Tokens) > 0 { // else anybody can read them anyway
		key, err := signedurl.LoadKey(d.path("url-key"))
		if err != nil {
			return nil, fmt.Errorf("storage.dir: %w", err)
		}
		views.Key = &key
	}
	rules := c.Fetch.Rules()
	rules.AllowHosts = nil // those are for pictures; receivers are named by who holds a token
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

// openOutbox takes over what an earlier process left to tell.
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

// receivers judges where a webhook may go, if any can be signed.
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

// unavailableFormats says which formats the codec does without, if any.
func unavailableFormats(about codec.About) string {
	if len(about.Off) == 0 {
		return ""
	}
	return "This machine cannot " + strings.Join(about.Off, ", ") + "."
}

// dropFormats takes from the ladder what the codec cannot write, so that the
// other formats are made.
func (d *Daemon) dropFormats(about codec.About) error {
	if off := unavailableFormats(about); off != "" {
		d.log.Warn("some formats are unavailable; run 'optimizerd doctor'", zap.String("codec", off))
	}
	wanted := d.config.Ladder.Formats
	missing := func(f ladder.Format) bool { return !slices.Contains(about.Outputs, f) }
	d.config.Ladder.Formats = slices.DeleteFunc(slices.Clone(wanted), missing)
	switch len(d.config.Ladder.Formats) {
	case len(wanted):
	case 0:
		return fmt.Errorf("ladder.formats: libvips %s on this machine can write none of %v", about.Libvips, wanted)
	default:
		d.log.Error("some of ladder.formats are disabled", zap.Any("wanted", wanted), zap.Any("made", d.config.Ladder.Formats))
	}
	return nil
}

func (d *Daemon) path(name string) string { return filepath.Join(d.config.Storage.Dir, name) }

// listen opens the listeners. The operator's is a convenience: a port that is
// taken must not keep the service down.
func (d *Daemon) listen() (err error) {
	if d.listener, err = net.Listen("tcp", d.config.HTTP.Listen); err != nil {
		return fmt.Errorf("http.listen: %w", explain(err))
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
		d.log.Warn("metrics disabled: cannot listen on admin.listen", zap.Error(explain(err)))
	}
	return nil
}

func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program is listening there; stop it, or choose another port", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: ports below 1024 require root; choose another port", err)
	default:
		return err
	}
}

// URL is where the API can be reached.
func (d *Daemon) URL() string { return "http://" + d.listener.Addr().String() }

// adminHosts are the host names, beside loopback, by which the operator's
// listener may be asked: a web page cannot choose them.
func (d *Daemon) adminHosts() []string {
	hosts := slices.Clone(d.config.HTTP.AllowedHosts)
	if host, _, err := net.SplitHostPort(d.config.Admin.Listen); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	return hosts
}

// AdminURL is where the operator's listener can be reached, or "".
func (d *Daemon) AdminURL() string {
	if d.admin == nil {
		return ""
	}
	return "http://" + d.admin.Addr().String()
}

// Run serves until ctx ends, then stops in order. What was accepted is done,
// or durable for the next start.
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
		Handler:           httpapi.GuardHosts(adminHandler(d.metrics), d.adminHosts()...),
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
	stopDelivery()    // what is in flight ends; what is not told yet is in the outbox
	_ = admin.Close() // only now: the operator can watch the stopping
	return group.Wait()
}

func serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(limitConnections(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stop is the order of stopping: not ready, the tunnel takes no new request,
// requests drain, the queue hands out no more, the jobs at hand end or go back.
// The codec processes are ended by release, when nothing needs them.
func (d *Daemon) stop(tunnelDone, workersDone <-chan struct{}, giveUp context.CancelFunc) {
	d.log.Info("stopping")
	d.notify("STOPPING=1")
	close(d.stopping)

	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := d.server.Shutdown(drain); err != nil {
		d.log.Warn("requests cut off at shutdown", zap.Error(err))
		_ = d.server.Close() // its error is that of a listener closed before
	}
	<-tunnelDone // it began to stop with ctx: to unregister takes 5 s at most, and then it drains as long
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

// release gives back what New took; parts that were not made are nil.
func (d *Daemon) release() {
	if d.pool != nil {
		d.pool.Close()
	}
	for _, l := range []net.Listener{d.listener, d.socket, d.admin} {
		if l != nil {
			_ = l.Close() // closed already by its server
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

// housekeepingInterval is how often old sets and jobs are looked for.
const housekeepingInterval = 10 * time.Minute

// housekeeping deletes what retention and jobs.keep say.
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
