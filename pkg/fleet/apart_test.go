//go:build fleet

package fleet

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// leaseOf returns a lease of a job that waits for a phase, nil if there is none.
func leaseOf(t *testing.T, q *Queue, phase jobs.Phase) *lease {
	t.Helper()
	e, err := q.tryLease(phase)
	if err != nil {
		t.Fatal(err)
	}
	if e == nil {
		return nil
	}
	return &lease{q: q, e: e, phase: phase}
}

// resolveAll resolves the jobs that may be, and returns how many those were.
func resolveAll(t *testing.T, q *Queue) (resolved int) {
	t.Helper()
	for l := leaseOf(t, q, jobs.Resolve); l != nil; l = leaseOf(t, q, jobs.Resolve) {
		err := l.SetSource(job.Source{SHA256: strings.Repeat("ab", 32)}, strings.Repeat("k3", 13))
		if err == nil {
			err = l.Advance()
		}
		if err != nil {
			t.Fatal(err)
		}
		resolved++
	}
	return resolved
}

func putNamed(t *testing.T, q *Queue, input string, background bool) {
	t.Helper()
	putJob(t, q, job.New(job.Job{Input: input, Background: background, Recipe: ladder.DefaultConfig().Recipe()}, time.Now()))
}

// Jobs in the background that have a worker of their own hold up no upload, and neither
// jobs whose source has to be fetched.
func TestFleetJobsInTheBackgroundWithAWorkerOfTheirOwn(t *testing.T) {
	o := options(t, "pi-1", fleettest.Start(t, 1).Servers[0].URL)
	o.Dedicated = true
	q := joinWith(t, o)
	for i := range aheadOfRender + 2 {
		putNamed(t, q, fmt.Sprintf("image:%d", i), true)
	}
	if n := resolveAll(t, q); n != aheadOfRender {
		t.Errorf("%d jobs in the background are resolved before the first is rendered", n)
	}
	putNamed(t, q, "https://example.com/cat.jpg", false)
	if l := leaseOf(t, q, jobs.Resolve); l == nil || l.Job().Background {
		t.Error("a job by URL waits for those in the background")
	}

	q.addIdle(1)
	place, err := q.Reserve(true)
	if err != nil || !place.MayHold() {
		t.Fatalf("an upload is not held while its worker is free: %v", err)
	}
	upload := newRecord(t).job
	place.Hold(upload)
	if leaseOf(t, q, jobs.Background) != nil {
		t.Error("a job in the background begins while an upload waits")
	}
	if l := leaseOf(t, q, jobs.Render); l == nil || l.Job().ID != upload.ID {
		t.Error("the upload is not the next one")
	}
	if l := leaseOf(t, q, jobs.Background); l == nil || !l.Job().Background || leaseOf(t, q, jobs.Render) != nil {
		t.Error("no job in the background begins next, or another worker has it")
	}
}

// What a node may resolve before it renders is one number for all that ask at once.
func TestFleetResolversThatAskAtOnce(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	for i := range 3 * aheadOfRender {
		putNamed(t, q, fmt.Sprintf("https://example.com/%d.jpg", i), false)
	}
	var resolvers sync.WaitGroup
	var leased atomic.Int32
	for range 3 * aheadOfRender {
		resolvers.Go(func() {
			e, err := q.tryLease(jobs.Resolve)
			if err != nil {
				t.Error(err)
			}
			if e != nil {
				leased.Add(1)
			}
		})
	}
	resolvers.Wait()
	if n := leased.Load(); n != aheadOfRender {
		t.Errorf("%d jobs are resolved before the first is rendered, want %d", n, aheadOfRender)
	}
}
