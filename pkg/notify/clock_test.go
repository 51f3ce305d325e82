package notify

import (
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// A time without a monotonic reading is compared by the time of day, which may jump.
func TestWaitsAreOnTheMonotonicClock(t *testing.T) {
	o, err := Open(Config{Dir: t.TempDir()}, Deps{Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	at := strictjson.At(now)
	j := job.New(job.Job{Source: job.Source{SHA256: "ab"}, Recipe: ladder.DefaultConfig().Recipe(), Webhooks: []job.Webhook{{URL: "https://a.example"}}}, now)
	j.Status, j.FinishedAt = job.Completed, &at
	e := newEntry(j, 0, now)
	it := e.item(now)
	monotonic := func(when string) {
		t.Helper()
		if it.next == it.next.Round(0) || it.created == it.created.Round(0) { // Round removes the reading
			t.Errorf("%s: the next attempt is at %v, the entry is of %v", when, it.next, it.created)
		}
	}
	monotonic("new")
	if !o.failed(e, it, &Failure{Reason: "down"}) {
		t.Fatal("given up")
	}
	monotonic("after an attempt")
	if e, err = o.entries.Read(e.ID); err != nil {
		t.Fatal(err)
	}
	it = e.item(time.Now())
	monotonic("read again")
}
