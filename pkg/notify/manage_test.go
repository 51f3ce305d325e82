package notify_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/notify"
)

// Calls at the same time find the record in failed/, and the last of them must not
// write it again when it was delivered meanwhile.
func TestWebhookRetriedManyTimesAtOnceIsSentOnceAndLeavesNoRecord(t *testing.T) {
	dir := t.TempDir()
	var forbid atomic.Bool
	sent := make(chan struct{}, 1)
	o := open(t, dir, roundTrip(func(r *http.Request) (*http.Response, error) {
		if forbid.Load() {
			return nil, errForbidden
		}
		select {
		case sent <- struct{}{}:
		default:
		}
		return answer(status(200))(r)
	}))
	stop := run(t, o)
	for range 20 {
		forbid.Store(true)
		j := ended(t, "https://a.example")
		given := o.Stats().GivenUp
		end(t, o, j)
		for o.Stats().GivenUp == given || o.Stats().Pending > 0 {
			time.Sleep(time.Millisecond)
		}
		forbid.Store(false)
		var calls sync.WaitGroup
		for range 32 {
			calls.Go(func() { _ = o.Retry(msg(j)) }) // those that come late find nothing, or that it is being sent
		}
		<-sent
		calls.Wait()
	}
	stop()
	wantFiles(t, dir)
}

// A webhook is in failed/ before it has left the outbox: a retry in between must not
// be undone by what is left of the move.
func TestRetryOfWhatIsBeingGivenUpIsNotLost(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	var o *notify.Outbox
	j := ended(t, "https://a.example")
	retried := make(chan error, 1)
	d := deps(t, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errForbidden }))
	d.Log = zaptest.NewLogger(t, zaptest.WrapOptions(zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "webhook failure recorded" {
			stop() // nothing is sent from now on
			go func() { retried <- o.Retry(msg(j)) }()
			for i := 0; i < 100 && len(retried) == 0; i++ { // it may end here already
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	})))
	o = openWith(t, dir, d)
	end(t, o, j)
	if err := o.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := <-retried; err != nil {
		t.Error(err)
	}
	wantFiles(t, dir, msg(j)+".json")
	wantStats(t, o, notify.Stats{Pending: 1, Failed: 1, GivenUp: 1})
}

// A job that was retried before its webhook was delivered is two events.
func TestRestartKeepsTheWebhooksOfAnEndBeforeARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		j := ended(t, "https://a.example")
		o := open(t, dir, nil)
		end(t, o, j)
		again := j
		again.Retries = 1
		put(t, o, again) // a crash comes before its end is recorded
		r := &receiver{t: t, statuses: []int{200}}
		o = open(t, dir, answer(r))
		if err := o.Recover(func(_ string, retries int) bool { return retries < 1 }); err != nil {
			t.Fatal(err)
		}
		run(t, o)
		synctest.Wait()
		if got := r.ids(); len(got) != 1 || got[0] != msg(j) {
			t.Errorf("sent: %v, want %s alone", got, msg(j))
		}
		if _, err := os.Stat(filepath.Join(dir, msg(j)+"_r1.json")); !os.IsNotExist(err) {
			t.Errorf("the webhook of an end that did not happen: %v", err)
		}
	})
}
