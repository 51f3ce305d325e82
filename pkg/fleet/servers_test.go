//go:build fleet

package fleet

import (
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
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
