package jobs_test

import (
	"context"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// slowToCancel is a queue that calls before the end of each job that is being canceled.
type slowToCancel struct {
	jobs.Queue
	before func()
}

func (q *slowToCancel) Take(id string) (jobs.Lease, error) {
	lease, err := q.Queue.Take(id)
	return slowToEnd{lease, q.before}, err
}

type slowToEnd struct {
	jobs.Lease
	before func()
}

func (l slowToEnd) End(cause error) (job.Job, error) {
	l.before()
	return l.Lease.End(cause)
}

func TestJobThatIsBeingCanceledIsNotJoined(t *testing.T) {
	for name, submit := range map[string]func(t *testing.T, h *fixture, what string) jobs.Ticket{
		"an upload": func(t *testing.T, h *fixture, what string) jobs.Ticket { return h.submit(t, gif+what).Ticket },
		"a request": func(t *testing.T, h *fixture, what string) jobs.Ticket {
			return h.request(t, "https://"+what+".example.com/#"+what, wide)
		},
	} {
		t.Run(name, func(t *testing.T) {
			gate, busy := make(chan struct{}), make(chan struct{}, 10)
			hold := func() error { busy <- struct{}{}; <-gate; return nil }
			from, slow := &origin{before: func(context.Context, string) error { return hold() }}, new(slowToCancel)
			h := newFixture(t, t.TempDir(), func(context.Context, int64) error { return hold() }, func(c *jobs.Config) {
				from.spool, c.Fetcher = c.Spool, from
				slow.Queue, c.Queue = c.Queue, slow
			})
			submit(t, h, "a")
			submit(t, h, "b")
			<-busy
			<-busy // all workers are
			canceled := submit(t, h, "c")
			var later jobs.Ticket
			slow.before = func() { later = submit(t, h, "c") }
			if err := h.Cancel(canceled.Job().ID); err != nil {
				t.Fatal(err)
			}
			close(gate)
			if j := later.Wait(t.Context()); j.Status != job.Completed || j.ID == canceled.Job().ID {
				t.Errorf("sent again while job %s was being canceled, it is %s: %s, %+v", canceled.Job().ID, j.ID, j.Status, j.Error)
			}
		})
	}
}
