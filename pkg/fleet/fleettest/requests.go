package fleettest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// Requests counts the requests of nodes of the fleet "main" to the servers.
type Requests struct {
	t     testing.TB
	nc    *nats.Conn
	sub   *nats.Subscription
	count map[string]int
}

// Count counts from now on, until the end of the test.
func (c *Cluster) Count(t testing.TB) *Requests {
	t.Helper()
	nc, _ := c.connect(t)
	t.Cleanup(nc.Close)
	sub, err := nc.SubscribeSync(">")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return &Requests{t, nc, sub, make(map[string]int)}
}

// So returns the requests so far, as the servers have seen them, by kind: "read"
// and "write" with what is read or written, "ask" with the lane that has no job or
// one, "ack", and "wake". Registrations of nodes are omitted.
func (r *Requests) So() map[string]int {
	r.t.Helper()
	if err := r.nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
	for {
		if waiting, _, err := r.sub.Pending(); err != nil || waiting == 0 {
			return r.count
		}
		msg, err := r.sub.NextMsg(nats.DefaultTimeout)
		if err != nil {
			r.t.Fatal(err)
		}
		if kind := kindOf(msg); kind != "" {
			r.count[kind]++
		}
	}
}

func kindOf(msg *nats.Msg) string {
	subject := msg.Subject
	if strings.HasPrefix(msg.Reply, "$JS.ACK.") {
		return "" // delivered by the servers
	}
	if rest, ok := strings.CutPrefix(subject, "$JS.API."); ok {
		switch {
		case strings.HasPrefix(rest, "STREAM.MSG.GET."):
			var get struct {
				Subject string `json:"last_by_subj"`
			}
			_ = json.Unmarshal(msg.Data, &get) // other requests are not key reads
			return join("read ", stored(get.Subject))
		case strings.HasPrefix(rest, "CONSUMER.MSG.NEXT."+Work+"."):
			return "ask " + rest[strings.LastIndex(rest, ".")+1:]
		}
		return ""
	}
	switch {
	case strings.HasPrefix(subject, "$JS.ACK."+Work+"."):
		return "ack"
	case subject == "optimizerd.main.wake", strings.HasPrefix(subject, "optimizerd.main.ended."):
		return "wake"
	default:
		return join("write ", stored(subject))
	}
}

func join(what, of string) string {
	if of == "" {
		return ""
	}
	return what + of
}

// stored names what is stored under a subject, "" for registrations of nodes and
// subjects that are not stored.
func stored(subject string) string {
	if rest, ok := strings.CutPrefix(subject, "$KV.optimizerd_main_"); ok {
		parts := strings.SplitN(rest, ".", 3)
		switch {
		case parts[0] != "state":
			return parts[0]
		case parts[1] == "claim" || parts[1] == "bad":
			return parts[1]
		}
		return ""
	}
	for _, stream := range []string{"work", "tell"} {
		if strings.HasPrefix(subject, "optimizerd.main."+stream+".") {
			return stream
		}
	}
	return ""
}
