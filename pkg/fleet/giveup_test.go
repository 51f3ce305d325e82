//go:build fleet

package fleet

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/notify"
)

// later is a stream whose server's clock is ahead.
type later struct {
	jetstream.Stream
	by time.Duration
}

func (l later) Info(ctx context.Context, o ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := l.Stream.Info(ctx, o...)
	if err == nil {
		info.TimeStamp = info.TimeStamp.Add(l.by)
	}
	return info, err
}

// The servers have dated the webhook. By the clock of a node, which may be wrong by days,
// it could end after a few minutes, or never.
func TestFleetWebhookIsGivenUpAfterADayByTheServersClock(t *testing.T) {
	for by, want := range map[time.Duration]bool{0: false, notify.GiveUpAfter + time.Minute: true} {
		q := join(t, fleettest.Start(t, 1).Servers[0].URL)
		j := newRecord(t).job
		at := j.CreatedAt
		j.Status, j.FinishedAt, j.Webhooks = job.Completed, &at, []job.Webhook{{URL: "https://a.example"}}
		tell := q.f.tell
		q.f.tell = later{tell, by}
		sent := make(chan struct{}, 16)
		if err := q.f.postWebhook(j, 0); err != nil {
			t.Fatal(err)
		}
		sender, err := notify.NewSender([]string{"whsec_TmV3IHNlY3JldCwgMzIgYnl0ZXMgbG9uZywgb2theSE="}, notify.Deps{
			Client: &http.Client{Transport: network(func(*http.Request) (*http.Response, error) {
				sent <- struct{}{}
				r := accepted()
				r.StatusCode = http.StatusServiceUnavailable
				return r, nil
			})},
			Body: func(j job.Job) (any, error) { return map[string]any{"id": j.ID}, nil },
			Log:  q.f.log,
		})
		if err != nil {
			t.Fatal(err)
		}
		o, err := q.f.NewOutbox(t.Context(), sender)
		if err != nil {
			t.Fatal(err)
		}
		for attempt := 1; ; attempt++ { // the earlier attempts
			batch, err := o.consumer.Fetch(1)
			if err != nil {
				t.Fatal(err)
			}
			msg, ok := <-batch.Messages()
			if !ok {
				t.Fatal(batch.Error())
			}
			if attempt == notify.MinAttempts {
				o.attempt(t.Context(), msg, notify.WebhookID(j, 0), j)
				break
			}
			if err := msg.Nak(); err != nil {
				t.Fatal(err)
			}
		}
		<-sent
		v, err := q.f.state.get(givenUpPrefix + notify.WebhookID(j, 0))
		if givenUp := v.data != nil; err != nil || givenUp != want {
			t.Errorf("after %v: given up: %v, %v", by, givenUp, err)
		}
	}
}
