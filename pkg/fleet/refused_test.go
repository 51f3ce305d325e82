//go:build fleet

package fleet

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// full is a stream in which something happens as soon as it has refused a message.
type full struct {
	jetstream.Stream
	then func()
}

func (f full) Info(ctx context.Context, o ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := f.Stream.Info(ctx, o...)
	f.then()
	return info, err
}

// A client that joins a job which is being refused, since the queue was full a moment
// ago, may get its id.
func TestFleetJobThatIsJoinedWhileItIsRefusedIsNotLost(t *testing.T) {
	o := options(t, "pi-1", fleettest.Start(t, 1).Servers[0].URL)
	o.MaxPending = 1
	q, other, third := joinWith(t, o), joinWith(t, o), joinWith(t, o)
	filler := newRecord(t).job
	filler.ImageID = filler.ImageID[1:] + "a"
	mine, equal := newRecord(t).job, newRecord(t).job
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := other.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	putJob(t, third, filler)
	var joined jobs.Ticket
	work := q.f.work
	q.f.work = full{work, func() {
		q.f.work = work
		end(t, leaseNext(t, other), nil) // there is a place
		if joined, err = theirs.Put(equal); err != nil {
			t.Error(err)
		}
	}}
	if _, err := place.Put(mine); err != nil && fault.CodeOf(err) != fault.QueueFull {
		t.Error(err)
	}
	if joined == nil {
		t.Fatal("the queue was not full")
	}
	if j, err := other.Get(joined.Job().ID); err != nil || j.Status != job.Pending {
		t.Fatalf("the job that was joined: %s, %v", j.Status, err)
	}
	if l := leaseNext(t, other); l.Job().ID != joined.Job().ID {
		t.Errorf("got %s", l.Job().ID)
	}
}

// A failed job can be retried later.
func TestFleetFailedJobOutlivesARetryThatIsRefused(t *testing.T) {
	o := options(t, "pi-1", fleettest.Start(t, 1).Servers[0].URL)
	o.MaxPending = 1
	q, other := joinWith(t, o), joinWith(t, o)
	putJob(t, q, newRecord(t).job)
	failed := end(t, leaseNext(t, q), fault.New(fault.ProcessingFailed, "It crashed."))
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	again := failed
	if err := again.Retry(); err != nil {
		t.Fatal(err)
	}
	filler := newRecord(t).job
	filler.ImageID = filler.ImageID[1:] + "a"
	putJob(t, other, filler)
	if _, err := place.Put(again); fault.CodeOf(err) != fault.QueueFull {
		t.Fatalf("got %v", err)
	}
	if j, err := q.Get(failed.ID); err != nil || j.Status != job.Failed || j.Retries != 0 {
		t.Errorf("the job is %s, %v", j.Status, err)
	}
}
