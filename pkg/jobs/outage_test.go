package jobs_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// remoteSets are sets that can be out of reach.
type remoteSets struct {
	jobs.Sets
	away   atomic.Bool
	checks atomic.Int64
}

func (s *remoteSets) Check() error {
	s.checks.Add(1)
	if s.away.Load() {
		return fault.New(fault.Unavailable, "The object store is currently unreachable; try again later.")
	}
	return nil
}

// Each attempt moves the job's record and logs a line, on an SD card.
func TestJobIsTriedRarelyDuringALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sets := new(remoteSets)
		h := newFixture(t, t.TempDir(), nil, func(c *jobs.Config) { sets.Sets, c.Sets = c.Sets, sets })
		admission, err := h.Admit(-1, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer admission.Close()
		sets.away.Store(true)
		if _, err := admission.Receive(strings.NewReader(gif), "cat.gif", false); err != nil {
			t.Fatal(err)
		}
		s, err := admission.Submit(job.Webhook{URL: "https://receiver.example.com"}) // so that it is promised at once
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Hour)
		if n := sets.checks.Load(); n > 8*300 {
			t.Errorf("it was tried %d times in eight hours", n)
		}
		sets.away.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if j := s.Ticket.Job(); j.Status != job.Completed {
			t.Errorf("a minute after the outage the job is %s", j.Status)
		}
		h.stop()
	})
}

func TestWorkerThatPausesDelaysNoShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sets, stopping := new(remoteSets), make(chan struct{})
		h := newFixture(t, t.TempDir(), nil, func(c *jobs.Config) { sets.Sets, c.Sets, c.Stopping = c.Sets, sets, stopping })
		admission, err := h.Admit(-1, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer admission.Close()
		sets.away.Store(true)
		if _, err := admission.Receive(strings.NewReader(gif), "cat.gif", false); err != nil {
			t.Fatal(err)
		}
		if _, err := admission.Submit(job.Webhook{URL: "https://receiver.example.com"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		close(stopping)
		before := sets.checks.Load()
		h.queue.Close()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		select {
		case err := <-h.ended:
			h.ended <- err // for stop
		default:
			t.Error("the workers have not ended five seconds after the queue was closed")
		}
		if n := sets.checks.Load() - before; n > 2 {
			t.Errorf("the job was tried %d times meanwhile", n)
		}
		h.stop()
	})
}
