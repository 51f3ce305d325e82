//go:build fleet

package fleet

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/notify"
)

// join returns the queue of a node of the fleet on these servers.
func join(t *testing.T, urls ...string) *Queue {
	t.Helper()
	config := DefaultConfig()
	config.Servers, config.Node, config.Replicas, config.Lease = urls, "pi-1", 1, 10*time.Second
	f, err := Open(t.Context(), Options{
		Config: config, Identity: t.Name(), MaxPending: 100, Keep: time.Hour, LongestJob: time.Hour, Log: zaptest.NewLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	q, err := f.NewQueue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Unlock() }) // the servers may be away
	return q
}

// leaseNext waits for the next job to render.
func leaseNext(t *testing.T, q *Queue) jobs.Lease {
	t.Helper()
	l, err := q.Lease(t.Context(), jobs.Render)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A job that was held in memory is left to its node for as long as that lives. If the
// node cannot record that it returns the job, it is the one that has to take it again.
func TestFleetAJobThatItsNodeReturnedInVainIsTakenAgain(t *testing.T) {
	link := fleettest.NewLink(t, fleettest.Start(t, 1).Servers[0])
	q := join(t, link.URL)
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	ticket := place.Hold(newRecord(t).job)
	first := leaseNext(t, q)
	if err := ticket.Record(); err != nil {
		t.Fatal(err)
	}
	link.Cut()
	if err := first.Return(); fault.CodeOf(err) != fault.Unavailable {
		t.Fatalf("got %v", err)
	}
	link.Restore()
	second := leaseNext(t, q)
	if _, err := second.End(nil); err != nil {
		t.Fatal(err)
	}
	if err := second.Record(); err != nil {
		t.Fatal(err)
	}
	second.Wake()
	if j, err := q.Get(ticket.Job().ID); err != nil || j.Status != job.Completed {
		t.Errorf("the job is %s, %v", j.Status, err)
	}
}

// ending is a stream in which something happens just before a message is deleted.
type ending struct {
	jetstream.Stream
	before func()
}

func (e ending) DeleteMsg(ctx context.Context, seq uint64) error {
	e.before()
	return e.Stream.DeleteMsg(ctx, seq)
}

// A node may deliver a webhook, or give it up, at the moment somebody retries it. It is
// sent once more then, under its id.
func TestFleetAWebhookThatEndsWhileItIsRetried(t *testing.T) {
	f := join(t, fleettest.Start(t, 1).Servers[0].URL).f
	o, j, tell := &Outbox{f: f}, newRecord(t).job, f.tell
	at := j.CreatedAt
	j.Status, j.FinishedAt, j.Webhooks = job.Completed, &at, []job.Webhook{{URL: "https://a.example"}}
	id := notify.WebhookID(j, 0)
	if err := f.postWebhook(j, 0); err != nil {
		t.Fatal(err)
	}
	end := func(giveUp bool) {
		msg, err := tell.GetLastMsgForSubject(t.Context(), f.subject+"tell."+id)
		if err == nil && giveUp {
			err = f.keepGivenUp(givenUp{id, 3, "away", msg.Data})
		}
		if err == nil {
			err = tell.DeleteMsg(t.Context(), msg.Sequence)
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, givenUp := range []bool{false, true} {
		f.tell = ending{tell, func() { end(givenUp) }}
		if err := o.Retry(id); err != nil {
			t.Errorf("given up meanwhile: %v: %v", givenUp, err)
		}
		if all, err := f.Webhooks(t.Context()); err != nil || len(all) != 1 || all[0].GivenUp {
			t.Errorf("given up meanwhile: %v: after the retry: %+v, %v", givenUp, all, err)
		}
	}
}

// A start whose acknowledgment was lost was none.
func TestFleetAStartThatItsNodeDidNotLearnOfDoesNotCount(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	j := newRecord(t).job
	putJob(t, q, j)
	started := func(process string) {
		t.Helper()
		_, err := q.update(j.ID, func(r *record) bool {
			r.job.Status, r.job.StartedAt = job.Processing, &j.CreatedAt
			r.Starts, r.Process = maxStarts, process
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	started(q.f.instance)
	l := leaseNext(t, q)
	if r, _, err := q.read(j.ID); err != nil || r.Starts != maxStarts {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := l.Return(); err != nil {
		t.Fatal(err)
	}
	started("that of a node which died")
	if e, err := q.tryLease(jobs.Render); e != nil || err != nil {
		t.Fatalf("got %+v, %v", e, err)
	}
	if got, err := q.Get(j.ID); err != nil || got.Status != job.Failed {
		t.Errorf("a job that has ended three nodes is %s, %v", got.Status, err)
	}
}
