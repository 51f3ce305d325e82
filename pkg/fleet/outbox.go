package fleet

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/notify"
)

// Outbox delivers the webhooks of all nodes. It implements jobs.Outbox. The lease
// that records the end of a job also stores its webhooks.
type Outbox struct {
	f        *Fleet
	sender   *notify.Sender
	consumer jetstream.Consumer

	delivered, failed, givenUp atomic.Int64
}

const (
	maxInFlight = 8
	tellWait    = 30 * time.Second // longer than an attempt
)

// NewOutbox returns the outbox of the fleet.
func (f *Fleet) NewOutbox(ctx context.Context, sender *notify.Sender) (*Outbox, error) {
	c, err := f.tell.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "tell", AckPolicy: jetstream.AckExplicitPolicy, AckWait: tellWait, MaxDeliver: -1, MaxAckPending: -1,
	})
	if err != nil {
		return nil, f.explain(err)
	}
	return &Outbox{f: f, sender: sender, consumer: c}, nil
}

// postWebhook makes a webhook of an ended job durable, unless it is already.
func (f *Fleet) postWebhook(j job.Job, target int) error {
	ctx, cancel := context.WithTimeout(context.Background(), operationTime)
	defer cancel()
	_, err := f.js.Publish(ctx, f.subject+"tell."+notify.WebhookID(j, target), webhookMessage(j.ID, target))
	if err != nil && !hasCode(err, codeRefused) {
		return unavailable(err)
	}
	return nil
}

// Put implements jobs.Outbox. It does nothing: the lease has stored the webhooks.
func (o *Outbox) Put(job.Job) error { return nil }

// Release implements jobs.Outbox. It does nothing: stored webhooks are delivered at
// once.
func (o *Outbox) Release(string) {}

// Prune does nothing: what is given up expires by itself.
func (o *Outbox) Prune(time.Time, time.Duration) error { return nil }

// Stats returns the counts of this node; Pending is that of the fleet.
func (o *Outbox) Stats() notify.Stats {
	s := notify.Stats{Delivered: int(o.delivered.Load()), Failed: int(o.failed.Load()), GivenUp: int(o.givenUp.Load())}
	ctx, cancel := context.WithTimeout(o.f.ctx, operationTime)
	defer cancel()
	if info, err := o.f.tell.Info(ctx); err == nil {
		s.Pending = int(info.State.Msgs)
	}
	return s
}

// Run delivers webhooks until ctx ends. Attempts in flight are finished.
func (o *Outbox) Run(ctx context.Context) error {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	slots := make(chan struct{}, maxInFlight)
	messages, err := o.consumer.Messages(jetstream.PullMaxMessages(1))
	if err != nil {
		return unavailable(err)
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		msg, err := messages.Next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			o.f.log.Debug("cannot ask for webhooks", zap.Error(err))
			select {
			case <-time.After(pollTime):
			case <-ctx.Done():
			}
			continue
		}
		slots <- struct{}{}
		attempts.Go(func() {
			defer func() { <-slots }()
			o.attempt(context.WithoutCancel(ctx), msg)
		})
	}
}

// parseWebhook parses a message: the job, and which of its webhooks.
func parseWebhook(data []byte) (jobID string, target int, ok bool) {
	jobID, text, _ := strings.Cut(string(data), " ")
	target, err := strconv.Atoi(text)
	return jobID, target, err == nil && target >= 0 && job.ValidID(jobID)
}

// attempt delivers a webhook once.
func (o *Outbox) attempt(ctx context.Context, msg jetstream.Msg) {
	jobID, target, ok := parseWebhook(msg.Data())
	meta, err := msg.Metadata()
	if err != nil || !ok {
		_ = msg.TermWithReason("not a webhook")
		return
	}
	log := o.f.log.With(zap.String("job_id", jobID))
	v, err := o.f.jobs.get(jobID)
	if err != nil {
		_ = msg.NakWithDelay(passTime)
		return
	}
	r, err := decodeRecord(jobID, v.data)
	switch {
	case v.data == nil || err == nil && r.Level <= level && target >= len(r.job.Webhooks):
		log.Error("webhook given up: its job is gone")
		_ = msg.TermWithReason("no job")
		return
	case err != nil || r.Level > level || !r.job.Status.Ended():
		_ = msg.NakWithDelay(passTime)
		return
	}
	j := r.job
	id := notify.WebhookID(j, target) // also that of the message
	log = log.With(zap.String("webhook_id", id))
	j.Webhooks = j.Webhooks[target : target+1]
	failure := o.sender.Send(ctx, id, j)
	if failure == nil {
		log.Debug("webhook sent")
		o.delivered.Add(1)
		log.Debug("webhook delivered")
		_ = msg.Ack() // otherwise it is sent again, under the same id
		return
	}
	o.failed.Add(1)
	tries := int(meta.NumDelivered)
	if failure.Permanent || time.Since(meta.Timestamp) > notify.GiveUpAfter && tries >= notify.MinAttempts {
		log.Error("webhook given up", zap.Int("attempts", tries), zap.String("last_error", failure.Reason))
		o.giveUp(msg, givenUp{id, j.ID, target, tries, failure.Reason}, log)
		return
	}
	wait := max(notify.Wait(tries), min(failure.RetryAfter, notify.MaxWait))
	log.Warn("webhook delivery failed, will retry", zap.Int("attempts", tries), zap.String("last_error", failure.Reason), zap.Duration("wait", wait))
	_ = msg.NakWithDelay(wait)
}
