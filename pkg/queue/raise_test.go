package queue_test

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/queue"
)

func TestJobThatIsRaisedWaitsForNoOtherInTheBackground(t *testing.T) {
	for _, apart := range []bool{false, true} {
		for name, resolved := range map[string]func(t *testing.T, q *queue.Queue, raise func()){
			"before it is resolved": func(t *testing.T, q *queue.Queue, raise func()) {
				raise()
				resolve(t, next(t, q, jobs.Resolve))
			},
			"while it is resolved": func(t *testing.T, q *queue.Queue, raise func()) {
				l := next(t, q, jobs.Resolve)
				raise()
				resolve(t, l)
			},
			"when it is resolved": func(t *testing.T, q *queue.Queue, raise func()) {
				resolve(t, next(t, q, jobs.Resolve))
				raise()
			},
		} {
			t.Run(fmt.Sprintf("%s, apart %t", name, apart), func(t *testing.T) {
				config := queue.Config{Dir: t.TempDir(), MaxPending: 100, Keep: time.Hour, Resolvers: 4, Dedicated: apart}
				q, err := queue.Open(config, zaptest.NewLogger(t))
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					putJob(t, q, job.Job{Source: job.Source{SHA256: "ab"}, ImageID: "earlier", Background: true})
				}
				const input = "https://example.com/cat"
				raised := putJob(t, q, job.Job{Input: input, Background: true})
				resolved(t, q, func() {
					if err := raised.Raise(); err != nil {
						t.Fatal(err)
					}
				})
				l := next(t, q, jobs.Render)
				if l == nil || l.Job().Input != input {
					t.Fatalf("rendered next is %+v, want the raised job", l)
				}
				if err := l.Return(); err != nil {
					t.Fatal(err)
				}
				if err := q.Unlock(); err != nil {
					t.Fatal(err)
				}
				q, err = queue.Open(config, zaptest.NewLogger(t))
				if err != nil {
					t.Fatal(err)
				}
				if l := next(t, q, jobs.Render); l == nil || l.Job().Input != input {
					t.Errorf("rendered next after a restart is %+v, want the raised job", l)
				}
			})
		}
	}
}

// A resolver that leases a job in one lane and ends in another must not be missing in
// the first for good.
func TestJobThatIsRaisedWhileItIsResolvedFreesItsResolver(t *testing.T) {
	q := openLarge(t, t.TempDir())
	for i := range 10 { // more than there are resolvers
		ticket := putJob(t, q, job.Job{Input: fmt.Sprintf("https://%d.example.com/", i), Background: true})
		l := next(t, q, jobs.Resolve)
		if l == nil {
			t.Fatalf("job %d in the background is not resolved", i)
		}
		if err := ticket.Raise(); err != nil {
			t.Fatal(err)
		}
		if err := end(l, nil); err != nil {
			t.Fatal(err)
		}
	}
}
