package fleettest

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The streams of the fleet "main".
const (
	Jobs   = "KV_optimizerd_main_jobs"
	State  = "KV_optimizerd_main_state"
	Images = "KV_optimizerd_main_images"
	Work   = "optimizerd_main_work"
	Tell   = "optimizerd_main_tell"
)

// withStream calls do with a stream of the cluster.
func (c *Cluster) withStream(t testing.TB, name string, do func(context.Context, jetstream.Stream) error) {
	t.Helper()
	nc, js := c.connect(t)
	defer nc.Close()
	s, err := js.Stream(t.Context(), name)
	if err == nil {
		err = do(t.Context(), s)
	}
	if err != nil {
		t.Fatalf("stream %s: %v", name, err)
	}
}

// connect returns a connection, for the caller to close.
func (c *Cluster) connect(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(strings.Join(c.URLs(), ","))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		t.Fatal(err)
	}
	return nc, js
}

// Subjects returns the subjects that have a message in a stream, without those that
// mark deleted keys.
func (c *Cluster) Subjects(t testing.TB, stream string) (subjects []string) {
	t.Helper()
	c.withStream(t, stream, func(ctx context.Context, s jetstream.Stream) error {
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			return err
		}
		for subject := range info.State.Subjects {
			msg, err := s.GetLastMsgForSubject(ctx, subject)
			if err == nil && msg.Header.Get("KV-Operation") == "" {
				subjects = append(subjects, subject)
			}
		}
		return nil
	})
	return subjects
}

// Purge deletes all messages of a stream.
func (c *Cluster) Purge(t testing.TB, stream string) {
	t.Helper()
	c.withStream(t, stream, func(ctx context.Context, s jetstream.Stream) error { return s.Purge(ctx) })
}

// Forget deletes the keys of the bucket "state" that begin with prefix, as if they had
// expired.
func (c *Cluster) Forget(t testing.TB, prefix string) {
	t.Helper()
	c.withStream(t, State, func(ctx context.Context, s jetstream.Stream) error {
		return s.Purge(ctx, jetstream.WithPurgeSubject("$KV.optimizerd_main_state."+prefix+">"))
	})
}

// Leader returns the server that leads a stream.
func (c *Cluster) Leader(t testing.TB, stream string) (leader *Server) {
	t.Helper()
	c.withStream(t, stream, func(ctx context.Context, s jetstream.Stream) error {
		info, err := s.Info(ctx)
		if err != nil {
			return err
		}
		for _, server := range c.Servers {
			if info.Cluster != nil && server.Name == info.Cluster.Leader {
				leader = server
			}
		}
		return nil
	})
	if leader == nil {
		t.Fatalf("stream %s has no leader", stream)
	}
	return leader
}
