package jobs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/thermal"
)

// newBoard returns a governor of a hot board, and a function that sets its temperature.
func newBoard(t *testing.T) (governor *thermal.Governor, heat func(temperature string)) {
	t.Helper()
	root := t.TempDir()
	zone := filepath.Join(root, "sys/class/thermal/thermal_zone0")
	if err := os.MkdirAll(zone, 0o755); err != nil {
		t.Fatal(err)
	}
	heat = func(temperature string) {
		t.Helper()
		for name, content := range map[string]string{"type": "cpu-thermal", "temp": temperature} {
			if err := os.WriteFile(filepath.Join(zone, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	heat("90000")
	return thermal.New(root, zaptest.NewLogger(t)), heat
}

func TestHotBoardWorksOneImageAtATime(t *testing.T) {
	governor, heat := newBoard(t)

	var running, most atomic.Int64
	h := newFixture(t, t.TempDir(), func(context.Context, int64) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		return nil
	}, func(d *jobs.Config) { d.Throttle = governor })
	picture := 0
	work := func(n int) {
		t.Helper()
		var all []jobs.Submission
		for range n {
			picture++
			all = append(all, h.submit(t, fmt.Sprint(gif, picture)))
		}
		for _, s := range all {
			if j := s.Ticket.Wait(t.Context()); j.Status != job.Completed {
				t.Fatalf("a job is %s: %v", j.Status, j.Error)
			}
		}
	}

	for round := range 3 {
		work(4)
		if most.Load() != 1 {
			t.Fatalf("round %d: %d pictures at a time while it is hot", round, most.Load())
		}

		heat("50000")
		for range 6 {
			governor.Update()
		}
		var both sync.WaitGroup
		both.Add(2)
		h.engine.before = func(context.Context, int64) error { both.Done(); both.Wait(); return nil }
		work(2) // ends only if both renderers work

		h.engine.before = func(context.Context, int64) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			return nil
		}
		heat("85000")
		governor.Update() // while both renderers wait for work
	}
	work(1)
}

func TestHotBoardRendersNothingWithTheDedicatedChild(t *testing.T) {
	governor, heat := newBoard(t)
	var inBackground atomic.Int64
	h := newFixtureWith(t, t.TempDir(), 1, nil, func(d *jobs.Config) { d.Throttle = governor })
	h.renderer.Background = &engine{before: func(context.Context, int64) error {
		inBackground.Add(1)
		return nil
	}}
	first := h.submit(t, gif).Ticket.Wait(t.Context())
	later := h.inBackground(t, first.ImageID, wide)
	for i := range 3 { // uploads go on
		if j := h.submit(t, fmt.Sprint(gif, i)).Ticket.Wait(t.Context()); j.Status != job.Completed {
			t.Errorf("%+v", j)
		}
	}
	if inBackground.Load() != 0 || later.Job().Status.Ended() {
		t.Errorf("while it is hot: %+v", later.Job())
	}
	heat("50000")
	for range 6 {
		governor.Update()
	}
	if j := later.Wait(t.Context()); j.Status != job.Completed || inBackground.Load() != 1 {
		t.Errorf("when it is cool: %+v", j)
	}
}
