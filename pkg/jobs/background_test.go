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
func (h *house) inBackground(t *testing.T, imageID string, o job.Options) jobs.Ticket {
	t.Helper()
	ticket, err := h.Request(job.Job{Input: "image:" + imageID, Options: o, Background: true}, job.Webhook{})
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestJobsInTheBackgroundWithAWorkerOfTheirOwnHoldUpNoOther(t *testing.T) {
	gate, began := make(chan struct{}), make(chan struct{}, 10)
	h := newHouseWith(t, t.TempDir(), 1, nil)
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
