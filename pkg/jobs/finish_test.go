package jobs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// brokenOutbox fails while its error is set.
type brokenOutbox struct {
	mu    sync.Mutex
	err   error
	calls []string
}

func (o *brokenOutbox) Put(j job.Job) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.calls = append(o.calls, "put "+string(j.Status))
	}
	return o.err
}

func (o *brokenOutbox) Release(string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, "release")
}

// Whoever has learned of an end finds it in the figures.
func TestEndIsCountedBeforeItIsKnown(t *testing.T) {
	out := new(brokenOutbox)
	h := newFixture(t, t.TempDir(), nil, func(c *jobs.Config) {
		c.Outbox = out
		c.Ended = func(j job.Job) {
			out.mu.Lock()
			defer out.mu.Unlock()
			out.calls = append(out.calls, "count "+string(j.Status))
		}
	})
	s, err := h.try(gif, job.Webhook{URL: "https://receiver.example.com"}, false)
	if err != nil {
		t.Fatal(err)
	}
	s.Ticket.Wait(t.Context())
	h.stop()
	if want := []string{"count completed", "put completed", "release"}; !slices.Equal(out.calls, want) {
		t.Errorf("in this order: %v, want %v", out.calls, want)
	}
}

func TestJobWhoseEndCannotBeRecordedIsSettledLater(t *testing.T) {
	dir := t.TempDir()
	out := &brokenOutbox{err: errors.New("the disk is full")}
	h := newFixture(t, dir, nil, func(c *jobs.Config) { c.Outbox = out })
	s, err := h.try(gif, job.Webhook{URL: "https://receiver.example.com"}, false)
	if err != nil {
		t.Fatal(err)
	}
	j := s.Ticket.Wait(t.Context())
	if j.Status != job.Completed {
		t.Fatalf("the client sees %+v; want it completed", j)
	}
	h.stop()
	record := func(state string) bool {
		_, err := os.Stat(filepath.Join(dir, "queue", state, j.ID+".json"))
		return err == nil
	}
	if !record("running") || record("done") || h.spooled(t) != 1 {
		t.Error("an end without its webhook is recorded, or the source is deleted")
	}
	if err := h.Settle(); err == nil {
		t.Error("it settles while the disk is full")
	}

	out.mu.Lock()
	out.err = nil
	out.mu.Unlock()
	for range 2 { // the second time there is nothing to do
		if err := h.Settle(); err != nil {
			t.Fatal(err)
		}
	}
	if record("running") || !record("done") || h.spooled(t) != 0 {
		t.Error("when there is space again, the end is not recorded, or the source is still there")
	}
	if want := []string{"put completed", "release"}; !slices.Equal(out.calls, want) {
		t.Errorf("the outbox saw %v, want %v", out.calls, want)
	}
}

func TestJobWhoseFailureCannotBeRecordedIsRetriedOnceItCan(t *testing.T) {
	out := &brokenOutbox{err: errors.New("the disk is full")}
	h := newFixture(t, t.TempDir(), func(_ context.Context, run int64) error {
		if run == 1 {
			return fault.New(fault.CorruptImage, "The image is damaged.")
		}
		return nil
	}, func(c *jobs.Config) { c.Outbox = out })
	s, err := h.try(gif, job.Webhook{URL: "https://receiver.example.com"}, false)
	if err != nil {
		t.Fatal(err)
	}
	failed := s.Ticket.Wait(t.Context())
	if _, err := h.Retry(t.Context(), failed.ID); fault.CodeOf(err) != fault.InsufficientStorage {
		t.Errorf("retried while its failure cannot be recorded: %v, want %s", err, fault.InsufficientStorage)
	}
	out.mu.Lock()
	out.err = nil
	out.mu.Unlock()
	again, err := h.Retry(t.Context(), failed.ID)
	if err != nil {
		t.Fatal(err)
	}
	if j := again.Wait(t.Context()); j.ID != failed.ID || j.Status != job.Completed {
		t.Errorf("retried: %+v", j)
	}
	h.stop()
	if want := []string{"put failed", "release", "put completed", "release"}; !slices.Equal(out.calls, want) {
		t.Errorf("the outbox saw %v, want %v", out.calls, want)
	}
}
