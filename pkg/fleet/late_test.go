//go:build fleet

package fleet

import (
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// lateLease returns the lease of a node that another node's job was, and that node's:
// its message was redelivered while the first node still worked.
func lateLease(t *testing.T) (late, now *lease) {
	t.Helper()
	url := fleettest.Start(t, 1).Servers[0].URL
	q, other := joinAs(t, "pi-1", url), joinAs(t, "pi-2", url)
	putJob(t, q, newRecord(t).job, "https://a.example")
	late, ok := leaseNext(t, q).(*lease)
	if !ok {
		t.Fatal("not a lease")
	}
	if err := late.e.msg.Nak(); err != nil { // as if its time had passed
		t.Fatal(err)
	}
	now, ok = leaseNext(t, other).(*lease)
	if !ok || now.Job().ID != late.Job().ID {
		t.Fatalf("the other node has %v", now)
	}
	return late, now
}

// checkItGoesOn ends the job at the node that has it.
func checkItGoesOn(t *testing.T, late, now *lease) {
	t.Helper()
	r, _, err := now.q.read(now.Job().ID)
	if err != nil || r.job.Status != job.Processing || r.Process != now.q.f.instance {
		t.Errorf("the record is %s by %q, %v", r.job.Status, r.Process, err)
	}
	if l := leaseOf(t, late.q, jobs.Render); l != nil {
		t.Error("the message is delivered once more")
	}
	end(t, now, nil)
	if j, err := late.q.Get(now.Job().ID); err != nil || j.Status != job.Completed {
		t.Errorf("the job is %s, %v", j.Status, err)
	}
	all, err := now.q.f.Webhooks(t.Context())
	if err != nil || len(all) != 1 || all[0].Event != "job.completed" {
		t.Errorf("the webhooks are %+v, %v", all, err)
	}
	info, err := now.q.f.work.Info(t.Context())
	if err != nil || info.State.Msgs != 0 {
		t.Errorf("the message is left: %+v, %v", info, err)
	}
}

// A node whose network is down fails to fetch an image that another one fetches.
func TestFleetLateFailureOfALostLeaseHasNoEffect(t *testing.T) {
	late, now := lateLease(t)
	ticket, ok := late.q.Ticket(late.Job().ID)
	if !ok {
		t.Fatal("there is no ticket")
	}
	end(t, late, fault.New(fault.InputUnavailable, "The server does not answer."))
	if j := ticket.Wait(t.Context()); j.Status != job.Processing { // its client polls, or gets 202
		t.Errorf("a client that waits learns that the job is %s", j.Status)
	}
	checkItGoesOn(t, late, now)
}

func TestFleetLateReturnOfALostLeaseHasNoEffect(t *testing.T) {
	late, now := lateLease(t)
	if err := late.Return(); err != nil {
		t.Fatal(err)
	}
	checkItGoesOn(t, late, now)
}
