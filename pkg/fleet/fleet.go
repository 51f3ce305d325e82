// Package fleet lets several machines share the work through NATS JetStream. It
// implements the interfaces of package jobs, as packages queue, notify and
// quarantine do with directories, and the index of package publish/bucket. It is
// the only importer of nats.go.
//
//	jobs    bucket   job id → record: the authoritative state of a job
//	work    stream   work.<lane>.<job>: the message that wakes a worker
//	images  bucket   image id → entry of the index
//	state   bucket   claims, quarantine, nodes, the key of URLs
//	tell    stream   tell.<webhook>: webhooks to be delivered
//
// Delivery is at least once. A job's message is acknowledged when all steps of the
// job's end are done: if a node dies earlier, it is redelivered, and every step is
// idempotent. Concurrency is optimistic: no decision relies on a read alone; each
// write names the revision that it replaces. Objects are written once (package
// publish/bucket), so work that is done twice has one effect.
package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
)

// Options are what a fleet needs besides its settings.
type Options struct {
	Config
	Identity   string        // of the data directory: the same after a restart
	MaxPending int           // jobs that have not ended, in the fleet
	Keep       time.Duration // how long ended jobs are kept
	LongestJob time.Duration // after which a lease is not prolonged
	Dedicated  bool          // workers of phase Background render the jobs in the background
	Log        *zap.Logger
}

// Fleet is a connection to the fleet. It is safe for concurrent use.
type Fleet struct {
	config   Options
	log      *zap.Logger
	node     string
	instance string // of this process
	started  time.Time
	prefix   string // of streams
	subject  string // prefix of subjects

	nc    *nats.Conn
	js    jetstream.JetStream
	jobs  *kv
	image *kv
	state *kv
	work  jetstream.Stream
	tell  jetstream.Stream

	created map[string]time.Time // of each stream, when this process opened it

	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	background sync.WaitGroup
	elected    atomic.Bool // does the housekeeping, as far as it knows
	about      atomic.Pointer[Abilities]
	others     ableNodes
	ladders    difference // between nodes
	settings   difference
	queue      atomic.Pointer[Queue]
	registered bool
	missed     atomic.Int32           // times in a row that this node could not renew its registration
	lost       atomic.Pointer[string] // why this process cannot use the streams any more; nil if it can
}

// Open connects, creates missing streams and buckets, and registers this node.
// Errors name the setting at fault.
func Open(ctx context.Context, o Options) (*Fleet, error) {
	f, err := Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := f.register(); err != nil {
		f.nc.Close()
		return nil, err
	}
	f.background.Go(f.heartbeat)
	return f, nil
}

// Connect is Open for a command: it creates what is missing, but registers no
// node.
func Connect(ctx context.Context, o Options) (*Fleet, error) {
	return dial(ctx, o, (*Fleet).createStreams)
}

// Attach is Connect for a read-only command: it creates nothing, and returns an
// error if no node has ever been started.
func Attach(ctx context.Context, o Options) (*Fleet, error) {
	return dial(ctx, o, (*Fleet).findStreams)
}

func dial(ctx context.Context, o Options, streams func(*Fleet, context.Context) error) (_ *Fleet, err error) {
	node, err := o.node()
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		config: o, log: o.Log, node: node, instance: rand.Text(), started: time.Now(), created: make(map[string]time.Time),
		prefix: "optimizerd_" + o.Name + "_", subject: "optimizerd." + o.Name + ".",
	}
	if err := f.connect(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.nc.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := streams(f, ctx); err != nil {
		return nil, f.explain(err)
	}
	if err := f.checkFormat(); err != nil {
		return nil, err
	}
	for _, s := range f.streams() {
		info := s.CachedInfo()
		f.created[info.Config.Name] = info.Created
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f, nil
}

// insist calls do until the servers respond, or ctx ends: requests get lost while
// they elect a leader. An attempt takes at most the given time.
func insist(ctx context.Context, most time.Duration, do func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, most)
		err := do(attempt)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// findStreams looks up the streams and buckets that nodes have created.
func (f *Fleet) findStreams(ctx context.Context) (err error) {
	find := func(name string, to *jetstream.Stream) {
		if err == nil {
			*to, err = f.js.Stream(ctx, name)
		}
	}
	for name, k := range f.buckets() {
		*k = f.newKV(name)
		find("KV_"+f.prefix+name, &(*k).stream)
	}
	find(f.prefix+"work", &f.work)
	find(f.prefix+"tell", &f.tell)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("no node of fleet %s has been started on these servers yet", f.config.Name)
	}
	return err
}

// buckets returns the fields of the buckets, by name.
func (f *Fleet) buckets() map[string]**kv {
	return map[string]**kv{"jobs": &f.jobs, "images": &f.image, "state": &f.state}
}

// createStream makes a stream, unless another node has.
func (f *Fleet) createStream(ctx context.Context, c jetstream.StreamConfig) (s jetstream.Stream, err error) {
	err = insist(ctx, operationTime/2, func(ctx context.Context) (err error) {
		s, err = f.js.CreateOrUpdateStream(ctx, c)
		return err
	})
	return s, err
}

func (f *Fleet) createStreams(ctx context.Context) (err error) {
	for name, k := range f.buckets() {
		if *k, err = f.openKV(ctx, name); err != nil {
			return err
		}
	}
	stream := func(name string, most int64) (jetstream.Stream, error) {
		return f.createStream(ctx, jetstream.StreamConfig{
			Name: f.prefix + name, Subjects: []string{f.subject + name + ".>"}, Retention: jetstream.WorkQueuePolicy,
			Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1, MaxMsgs: most,
			Storage: jetstream.FileStorage, Replicas: f.config.Replicas,
		})
	}
	if f.work, err = stream("work", int64(f.config.MaxPending)); err != nil {
		return err
	}
	f.tell, err = stream("tell", -1)
	return err
}

// explain rewords an error of createStreams for the operator.
func (f *Fleet) explain(err error) error {
	const (
		insufficientResources = jetstream.ErrorCode(10023)
		noPeers               = jetstream.ErrorCode(10005)
		notClustered          = jetstream.ErrorCode(10074)
	)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("fleet.servers: nats-server %s at %s: JetStream is not enabled; add jetstream {} to its configuration", f.nc.ConnectedServerVersion(), f.nc.ConnectedUrlRedacted())
	case hasCode(err, insufficientResources, noPeers, notClustered):
		return fmt.Errorf("fleet.replicas: %d, but the cluster has fewer servers: start the others, or set 1 (then only its disk has the data): %w", f.config.Replicas, err)
	default:
		return fmt.Errorf("fleet.servers: %w", err)
	}
}

// format is the version of what a fleet stores.
const format = "1"

func (f *Fleet) checkFormat() error {
	_, err := f.state.put("format", []byte(format), 0, 0)
	if !errors.Is(err, errChanged) {
		return err
	}
	v, err := f.state.get("format")
	if err == nil && string(v.data) != format {
		return fmt.Errorf("fleet.name: the data of fleet %s has format %.20q, this version supports %s: upgrade this node", f.config.Name, v.data, format)
	}
	return err
}

// Connected returns an Unavailable fault while no server can be reached.
func (f *Fleet) Connected() error {
	if !f.nc.IsConnected() {
		return unavailable(errors.New("not connected to any of fleet.servers"))
	}
	return nil
}

// Reachable returns an Unavailable fault while this node is cut off from the fleet: it
// reaches no server, or only a minority, which still answers, or its streams are gone.
func (f *Fleet) Reachable() error {
	if err := f.Connected(); err != nil {
		return err
	}
	if why := f.lost.Load(); why != nil {
		return unavailable(errors.New(*why))
	}
	if f.missed.Load() > maxMissed {
		return unavailable(errors.New("the reachable servers of fleet.servers accept no writes: they have no quorum"))
	}
	return nil
}

func (f *Fleet) streams() []jetstream.Stream {
	return []jetstream.Stream{f.jobs.stream, f.image.stream, f.state.stream, f.work, f.tell}
}

// checkStreams checks that the streams of this process exist: the data of all servers may
// have been lost.
func (f *Fleet) checkStreams(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, operationTime)
	defer cancel()
	var why string
	for _, s := range f.streams() {
		name := s.CachedInfo().Config.Name
		now, err := f.js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			why = "the fleet's data in NATS are gone: run 'optimizerd fleet rebuild', then restart this node"
		case err != nil:
			return // checked again soon
		case !now.CachedInfo().Created.Equal(f.created[name]):
			why = "the fleet's data in NATS were lost and made again: restart this node"
		default:
			continue
		}
		break
	}
	if why == "" {
		f.lost.Store(nil)
	} else if before := f.lost.Swap(&why); before == nil || *before != why {
		f.log.Error("this node cannot be used until it is restarted", zap.String("reason", why))
	}
}

// Close unregisters the node, if there is one, and disconnects.
func (f *Fleet) Close() (err error) {
	f.cancel()
	f.background.Wait()
	if f.registered {
		err = f.unregister()
	}
	f.nc.Close()
	return err
}

// version returns this build's version, for other nodes.
func version() string { return buildinfo.Version() }
