//go:build fleet

package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/notify"
)

var errForbidden = errors.New("refused")

// network is what the receivers are to an outbox.
type network func(*http.Request) (*http.Response, error)

func (n network) RoundTrip(r *http.Request) (*http.Response, error) { return n(r) }

func accepted() *http.Response { return httptest.NewRecorder().Result() }

// deliver runs the outbox of a node until the end of the test.
func deliver(t *testing.T, q *Queue, n network) *Outbox {
	t.Helper()
	sender, err := notify.NewSender([]string{"whsec_TmV3IHNlY3JldCwgMzIgYnl0ZXMgbG9uZywgb2theSE="}, notify.Deps{
		Client:    &http.Client{Transport: n},
		Body:      func(j job.Job) (any, error) { return map[string]any{"id": j.ID, "retries": j.Retries}, nil },
		Permanent: func(err error) bool { return errors.Is(err, errForbidden) },
		Log:       zaptest.NewLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	o, err := q.f.NewOutbox(t.Context(), sender)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return o
}

// putJob puts a job with webhooks, or one that is retried.
func putJob(t *testing.T, q *Queue, j job.Job, urls ...string) {
	t.Helper()
	for _, u := range urls {
		j.Webhooks = append(j.Webhooks, job.Webhook{URL: u})
	}
	place, err := q.Reserve(true)
	if err == nil {
		_, err = place.Put(j)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// failNext executes the next job, which fails.
func failNext(t *testing.T, q *Queue) job.Job {
	t.Helper()
	return end(t, leaseNext(t, q), fault.New(fault.CorruptImage, "The image is damaged."))
}

func retried(t *testing.T, j job.Job) job.Job {
	t.Helper()
	if err := j.Retry(); err != nil {
		t.Fatal(err)
	}
	return j
}

// received is a webhook as it came.
type received struct{ id, body string }

func TestFleetWebhookIsOfItsEndEvenIfTheJobIsRetried(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	putJob(t, q, newRecord(t).job, "https://a.example")
	j := failNext(t, q)
	putJob(t, q, retried(t, j))
	failNext(t, q)
	got := make(chan received, 3)
	deliver(t, q, func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		got <- received{r.Header.Get("webhook-id"), string(body)}
		return accepted(), err
	})
	first, second := <-got, <-got
	if first.id > second.id { // they come in no particular order
		first, second = second, first
	}
	if first.id != notify.WebhookID(j, 0) || !strings.Contains(first.body, `"job.failed"`) || !strings.Contains(first.body, `"retries":0`) {
		t.Errorf("the first end was delivered as %+v", first)
	}
	if second.id != first.id+"_r1" || !strings.Contains(second.body, `"retries":1`) {
		t.Errorf("the second end was delivered as %+v", second)
	}
}

// A node records the end of a job and dies. Before another one has gone on from there,
// the job is retried.
func TestFleetRetryCompletesTheEndThatANodeHasLeft(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	putJob(t, q, newRecord(t).job, "https://a.example", "https://b.example")
	l := leaseNext(t, q)
	j, err := l.End(fault.New(fault.CorruptImage, "The image is damaged."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.update(j.ID, func(r *record) bool { r.job = j; return true }); err != nil {
		t.Fatal(err)
	}
	q.mu.Lock()
	delete(q.known, j.ID)
	q.mu.Unlock()
	putJob(t, q, retried(t, j))
	all, err := q.f.Webhooks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, w := range all {
		ids = append(ids, w.ID)
	}
	if want := []string{notify.WebhookID(j, 0), notify.WebhookID(j, 1)}; !slices.Equal(ids, want) {
		t.Errorf("webhooks: %v, want %v", ids, want)
	}
	again := leaseNext(t, q)
	if j := again.Job(); j.Retries != 1 {
		t.Errorf("leased is %+v", j)
	}
}

func TestFleetWebhookIsKeptUntilItsFailureIsRecorded(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	putJob(t, q, newRecord(t).job, "https://a.example")
	j := failNext(t, q)
	config := q.f.state.stream.CachedInfo().Config
	limit := func(bytes int32) {
		config.MaxMsgSize = bytes
		if _, err := q.f.js.UpdateStream(context.Background(), config); err != nil {
			t.Error(err)
		}
	}
	limit(1)
	var once sync.Once
	deliver(t, q, func(*http.Request) (*http.Response, error) {
		once.Do(func() { time.AfterFunc(time.Second, func() { limit(-1) }) }) // after the record was refused
		return nil, errForbidden
	})
	for {
		all, err := q.f.Webhooks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 1 || all[0].ID != notify.WebhookID(j, 0) {
			t.Fatalf("webhooks: %+v", all)
		}
		if all[0].GivenUp {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestFleetSlowReceiverHoldsUpNobodyElse(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	for range 20 {
		putJob(t, q, otherJob(t), "https://slow.example")
	}
	putJob(t, q, otherJob(t), "https://quick.example")
	for range 21 {
		failNext(t, q)
	}
	slow, quick := make(chan struct{}, 21), make(chan struct{})
	deliver(t, q, func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "quick.example" {
			close(quick)
			return accepted(), nil
		}
		slow <- struct{}{}
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	<-quick
	if n := len(slow); n > notify.MaxPerHost {
		t.Errorf("%d attempts at the slow receiver began before the other receiver's", n)
	}
}

// What is to be sent again is not lost if the process dies in between.
func TestFleetWebhookThatWaitsIsRetriedOnce(t *testing.T) {
	q := join(t, fleettest.Start(t, 1).Servers[0].URL)
	putJob(t, q, newRecord(t).job, "https://a.example")
	j := failNext(t, q)
	id := notify.WebhookID(j, 0)
	before, err := q.f.tell.GetLastMsgForSubject(t.Context(), q.f.subject+"tell."+id)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Outbox{f: q.f}).Retry(id); err != nil {
		t.Fatal(err)
	}
	after, err := q.f.tell.GetLastMsgForSubject(t.Context(), q.f.subject+"tell."+id)
	if err != nil || after.Sequence == before.Sequence || string(after.Data) != string(before.Data) {
		t.Errorf("got %+v, %v", after, err)
	}
	all, err := q.f.Webhooks(t.Context())
	if err != nil || len(all) != 1 || all[0].GivenUp || all[0].ID != id {
		t.Errorf("webhooks: %+v, %v", all, err)
	}
	if err := q.f.tell.DeleteMsg(t.Context(), after.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Fatal(err)
	}
	if err := (&Outbox{f: q.f}).Retry(id); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("retry of one that was delivered: %v", err)
	}
}

// otherJob is a job for an image of its own.
func otherJob(t *testing.T) job.Job {
	t.Helper()
	j := newRecord(t).job
	j.ImageID = j.Recipe.ID(sha256.Sum256([]byte(j.ID)))
	return j
}
