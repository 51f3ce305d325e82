//go:build fleet

package fleet

import (
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// end ends a leased job, which fails with a cause.
func end(t *testing.T, l jobs.Lease, cause error) job.Job {
	t.Helper()
	j, err := l.End(cause)
	if err == nil {
		err = l.Record()
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Wake()
	return j
}

// A node knows what it wrote itself, and a write fails if that is not there any more.
func TestFleetJobEndsWithoutReadingWhatItsNodeWrote(t *testing.T) {
	servers := fleettest.Start(t, 1)
	q := join(t, servers.Servers[0].URL)
	putJob(t, q, newRecord(t).job, "https://a.example")
	l := leaseNext(t, q)
	count := servers.Count(t)
	j := end(t, l, nil)
	if err := q.f.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := count.So(); got["read jobs"]+got["read claim"] != 0 || got["write jobs"] != 1 || got["write claim"] != 1 || got["write tell"] != 1 || got["ack"] != 1 {
		t.Errorf("the end of a job is %v", got)
	}
	if r, err := q.Get(j.ID); err != nil || r.Status != job.Completed || len(r.Webhooks) != 1 {
		t.Errorf("the record is %+v, %v", r, err)
	}
}

// What another node has written meanwhile is kept.
func TestFleetWebhookThatAnotherNodeAddsIsDelivered(t *testing.T) {
	servers := fleettest.Start(t, 1)
	q, other := join(t, servers.Servers[0].URL), join(t, servers.Servers[0].URL)
	putJob(t, q, newRecord(t).job, "https://a.example")
	l := leaseNext(t, q)
	theirs, ok := other.Ticket(l.Job().ID)
	if !ok {
		t.Fatal("the other node does not find the job")
	}
	if ok, err := theirs.AddWebhook(job.Webhook{URL: "https://b.example"}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	ours, _ := q.Ticket(l.Job().ID)
	if ok, err := ours.AddWebhook(job.Webhook{URL: "https://c.example"}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	j := end(t, l, nil)
	all, err := q.f.Webhooks(t.Context())
	var urls []string
	for _, w := range all {
		urls = append(urls, w.URL)
	}
	if slices.Sort(urls); err != nil || !slices.Equal(urls, []string{"https://a.example", "https://b.example", "https://c.example"}) {
		t.Errorf("the webhooks go to %v, %v", urls, err)
	}
	if r, err := q.Get(j.ID); err != nil || len(r.Webhooks) != 3 {
		t.Errorf("the record is %+v, %v", r, err)
	}
}

// A claim ends with its job, and no other does: that of an equal job, or of one that was
// retried, is at another revision.
func TestFleetJobRemovesItsOwnClaim(t *testing.T) {
	servers := fleettest.Start(t, 1)
	q := join(t, servers.Servers[0].URL)
	for what, c := range map[string]struct {
		image  string // another one in each case
		change func(j job.Job, key string) error
		left   string
	}{
		"as it is": {"b", func(job.Job, string) error { return nil }, ""},
		"its record is of an earlier version": {"c", func(j job.Job, _ string) error {
			_, err := q.update(j.ID, func(r *record) bool { r.Claim = 0; return true })
			return err
		}, ""},
		"an equal job has taken it over": {"d", func(_ job.Job, key string) error { return q.f.state.overwrite(key, []byte("job_other"), claimTime) }, "job_other"},
	} {
		j := newRecord(t).job
		j.ImageID = strings.Repeat(c.image, len(j.ImageID))
		putJob(t, q, j)
		l := leaseNext(t, q)
		if err := c.change(j, claimKey(j)); err != nil {
			t.Fatal(err)
		}
		end(t, l, nil)
		if v, err := q.f.state.get(claimKey(j)); err != nil || string(v.data) != c.left {
			t.Errorf("%s: the claim is %q, want %q: %v", what, v.data, c.left, err)
		}
	}
}

// Of two nodes that accept equal work at once, one joins the job of the other, which
// takes one place of the fleet.
func TestFleetEqualJobsTakeOnePlace(t *testing.T) {
	o := options(t, "pi-1", fleettest.Start(t, 1).Servers[0].URL)
	o.MaxPending = 2
	q, other := joinWith(t, o), joinWith(t, o)
	first, second := newRecord(t).job, newRecord(t).job
	putJob(t, q, first)
	for range 2 { // each time one place is left
		place, err := other.Reserve(true)
		if err != nil {
			t.Fatal(err)
		}
		ticket, err := place.Put(second)
		if err != nil || ticket.Job().ID != first.ID {
			t.Fatalf("the equal job is not joined: %v", err)
		}
	}
}
