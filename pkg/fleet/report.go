package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Report is the observable state of a fleet.
type Report struct {
	Name     string          `json:"name"`
	Clock    time.Duration   `json:"clock_ns"` // how far this machine's clock is ahead of the servers'
	Nodes    []Node          `json:"nodes"`
	Lanes    map[string]Lane `json:"lanes"`
	Webhooks int             `json:"webhooks"` // to be delivered
	Streams  []Stream        `json:"streams"`
	Index    IndexSize       `json:"index"`
}

// Lane counts the jobs of a lane.
type Lane struct {
	Waiting int `json:"waiting"`
	Leased  int `json:"leased"`
}

// Stream is a NATS stream and its replicas.
type Stream struct {
	Name     string    `json:"name"`
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	Leader   string    `json:"leader"` // "" while there is none
	Wanted   int       `json:"wanted"` // replicas
	Replicas []Replica `json:"replicas"`
}

// Replica is a replica of a stream on a server other than its leader.
type Replica struct {
	Server  string `json:"server"`
	Offline bool   `json:"offline,omitempty"`
	Lag     uint64 `json:"lag"` // messages that it does not have yet
	Current bool   `json:"current"`
}

// Healthy returns the number of complete replicas, including the leader.
func (s Stream) Healthy() (n int) {
	if s.Leader != "" {
		n++
	}
	for _, r := range s.Replicas {
		if r.Current && !r.Offline {
			n++
		}
	}
	return n
}

// String describes a replica for people.
func (r Replica) String() string {
	switch {
	case r.Offline:
		return r.Server + " (away)"
	case !r.Current:
		return fmt.Sprintf("%s (%d behind)", r.Server, r.Lag)
	default:
		return r.Server
	}
}

// IndexSize is the size of the index of sets.
type IndexSize struct {
	Sets     int   `json:"sets"`
	Bytes    int64 `json:"bytes"`    // of their files
	Deleting int   `json:"deleting"` // marked for deletion
}

// Healthy reports whether every stream has all of its replicas, and a node takes jobs.
func (r Report) Healthy() bool {
	return slices.ContainsFunc(r.Nodes, Node.works) && !slices.ContainsFunc(r.Streams, func(s Stream) bool { return s.Healthy() < s.Wanted })
}

// Report inspects the fleet. The index is read only if requested.
func (f *Fleet) Report(ctx context.Context, index bool) (r Report, err error) {
	r = Report{Name: f.config.Name, Lanes: make(map[string]Lane), Streams: []Stream{}}
	if r.Nodes, err = f.Nodes(); err != nil {
		return r, err
	}
	for _, s := range f.streams() {
		before := time.Now()
		info, err := s.Info(ctx)
		if err != nil {
			return r, unavailable(err)
		}
		took := time.Since(before)
		r.Clock = before.Add(took / 2).Sub(info.TimeStamp)
		r.Streams = append(r.Streams, f.stream(info))
		if info.Config.Name == f.prefix+"tell" {
			r.Webhooks = int(info.State.Msgs)
		}
	}
	for _, name := range lanes {
		c, err := f.work.Consumer(ctx, name)
		if err != nil {
			continue // no node has started with it yet
		}
		if info, err := c.Info(ctx); err == nil {
			r.Lanes[name] = Lane{int(info.NumPending), info.NumAckPending}
		}
	}
	if index {
		r.Index, err = f.indexSize(ctx)
	}
	return r, err
}

func (f *Fleet) stream(info *jetstream.StreamInfo) Stream {
	s := Stream{
		Name: strings.TrimPrefix(strings.TrimPrefix(info.Config.Name, "KV_"), f.prefix), Messages: info.State.Msgs, Bytes: info.State.Bytes,
		Wanted: info.Config.Replicas, Replicas: []Replica{},
	}
	if info.Cluster == nil { // a single server
		s.Leader = f.nc.ConnectedServerName()
		return s
	}
	s.Leader = info.Cluster.Leader
	for _, p := range info.Cluster.Replicas {
		s.Replicas = append(s.Replicas, Replica{p.Name, p.Offline, p.Lag, p.Current})
	}
	slices.SortFunc(s.Replicas, func(a, b Replica) int { return strings.Compare(a.Server, b.Server) })
	return s
}

func (f *Fleet) indexSize(ctx context.Context) (n IndexSize, err error) {
	err = f.image.each(ctx, "", func(_ string, v value) error {
		e, err := decodeEntry(v.data)
		if err != nil {
			return fmt.Errorf("unreadable index entry: %w", err)
		}
		if e.Deleting {
			n.Deleting++
		} else {
			n.Sets++
			n.Bytes += e.Bytes
		}
		return nil
	})
	return n, err
}
