package jobs_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// inBackground requests a variant of a set in the background.
func (h *fixture) inBackground(t *testing.T, imageID string, o job.Options) jobs.Ticket {
	t.Helper()
	ticket, err := h.Request(job.Job{Input: "image:" + imageID, Options: o, Background: true}, job.Webhook{})
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// The others may wait for hours behind what is regenerated.
func TestJobInTheBackgroundThatIsJoinedIsNoLongerThere(t *testing.T) {
	const url = "https://example.com/cat"
	for name, join := range map[string]func(t *testing.T, h *fixture) jobs.Ticket{
		"by a request": func(t *testing.T, h *fixture) jobs.Ticket { return h.request(t, url, job.Options{}) },
		"by a request with a webhook": func(t *testing.T, h *fixture) jobs.Ticket {
			ticket, err := h.Request(job.Job{Input: url}, job.Webhook{URL: "https://receiver.example.com"})
			if err != nil {
				t.Fatal(err)
			}
			return ticket
		},
		"by an upload": func(t *testing.T, h *fixture) jobs.Ticket { return h.submit(t, gif).Ticket },
	} {
		t.Run(name, func(t *testing.T) {
			gate, busy := make(chan struct{}), make(chan struct{}, 10)
			h, _, _ := newRequests(t, t.TempDir(), nil)
			h.engine.before = func(context.Context, int64) error { busy <- struct{}{}; <-gate; return nil }
			first, err := h.Request(job.Job{Input: url, Background: true}, job.Webhook{})
			if err != nil {
				t.Fatal(err)
			}
			<-busy // it is resolved
			again, err := h.Request(job.Job{Input: url, Background: true}, job.Webhook{})
			if err != nil || !again.Job().Background {
				t.Errorf("requested again in the background: %+v, %v", again.Job(), err)
			}
			joined := join(t, h)
			if j := joined.Job(); j.ID != first.Job().ID || j.Background {
				t.Errorf("joined, the job is %+v; want %s, no longer in the background", j, first.Job().ID)
			}
			close(gate)
			if j := joined.Wait(t.Context()); j.Status != job.Completed {
				t.Errorf("%+v", j)
			}
		})
	}
}

func TestJobsInTheBackgroundWithAWorkerOfTheirOwnHoldUpNoOther(t *testing.T) {
	gate, began := make(chan struct{}), make(chan struct{}, 10)
	h := newFixtureWith(t, t.TempDir(), 1, nil)
	var running, most atomic.Int64
	h.renderer.Background = &engine{before: func(context.Context, int64) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		began <- struct{}{}
		<-gate
		return nil
	}}
	first := h.submit(t, gif).Ticket.Wait(t.Context())
	var later []jobs.Ticket
	for i := range 4 { // more than there are other workers
		later = append(later, h.inBackground(t, first.ImageID, job.Options{Width: 100 + i}))
	}
	<-began
	for i := range 5 {
		if j := h.submit(t, fmt.Sprint(gif, i)).Ticket.Wait(t.Context()); j.Status != job.Completed {
			t.Errorf("%+v", j)
		}
	}
	close(gate)
	for _, ticket := range later {
		if j := ticket.Wait(t.Context()); j.Status != job.Completed {
			t.Errorf("%+v", j)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d images in the background at a time", most.Load())
	}
}
