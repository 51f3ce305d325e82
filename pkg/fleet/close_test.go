//go:build fleet

package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// A shutdown has a minute for all it does. While NATS is away each return takes seconds.
func TestFleetJobsAreReturnedAtOnceWhenANodeStops(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	for i := range aheadOfRender {
		putNamed(t, q, fmt.Sprintf("https://example.com/%d.jpg", i), false)
	}
	resolveAll(t, q)
	waiting := slices.Clone(q.line)
	slow := waiting[0]
	slow.record.Lock() // its record is being written
	closed := make(chan struct{})
	go func() {
		q.Close()
		close(closed)
	}()
	for _, e := range waiting[1:] {
		for { // the test's time limit ends this
			r, _, err := q.read(e.job.ID)
			if err != nil {
				t.Fatal(err)
			}
			if r.job.Status == job.Pending {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	slow.record.Unlock()
	<-closed
	if r, _, err := q.read(slow.job.ID); err != nil || r.job.Status != job.Pending {
		t.Errorf("the record is %+v, %v", r, err)
	}
}
