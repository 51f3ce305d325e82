package fleet

import (
	"context"
	"fmt"
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

// deliveryWait is the acknowledgment deadline of a message. It is longer than an
// attempt.
const deliveryWait = 30 * time.Second

// NewOutbox returns the outbox of the fleet.
func (f *Fleet) NewOutbox(ctx context.Context, sender *notify.Sender) (*Outbox, error) {
	c, err := f.tell.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "tell", AckPolicy: jetstream.AckExplicitPolicy, AckWait: deliveryWait, MaxDeliver: -1, MaxAckPending: -1,
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
	id := notify.WebhookID(j, target)
	j.Webhooks = j.Webhooks[target : target+1 : target+1]
	b, err := record{Level: level, job: j}.encode()
	if err != nil {
		return err
	}
	return f.publishWebhook(ctx, id, b)
}

// publishWebhook adds a message to tell, unless this webhook has one.
func (f *Fleet) publishWebhook(ctx context.Context, id string, message []byte) error {
	if _, err := f.js.Publish(ctx, f.subject+"tell."+id, message); err != nil && !hasCode(err, codeRefused) {
		return unavailable(err)
	}
	return nil
}

// decodeWebhook parses a message in tell: the record of an ended job, with one
// receiver. It describes this end even if the job is retried meanwhile. Of a record
// of a higher level than ours, only the level is set.
func decodeWebhook(id string, message []byte) (record, error) {
	part, _, _ := strings.Cut(strings.TrimPrefix(id, "msg_"), "_")
	r, err := decodeRecord("job_"+part, message)
	if err == nil && r.Level <= level && (len(r.job.Webhooks) != 1 || !r.job.Status.Ended() || r.job.FinishedAt == nil) {
		err = fmt.Errorf("%.60q is not the webhook of a job that has ended", id)
	}
	return r, err
}

// Put implements jobs.Outbox. It does nothing: the lease has stored the webhooks.
func (o *Outbox) Put(job.Job) error { return nil }

// Release implements jobs.Outbox. It does nothing: stored webhooks are delivered at
// once.
func (o *Outbox) Release(string) {}

// Prune does nothing: given-up webhooks expire by themselves.
func (o *Outbox) Prune(time.Time, time.Duration) error { return nil }

// Stats returns the counts of this node; Pending is the fleet's.
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
	places := newPlaces()
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
			o.f.log.Debug("cannot fetch webhooks", zap.Error(err))
			select {
			case <-time.After(pollTime):
			case <-ctx.Done():
			}
			continue
		}
		leave, ok := places.hold(ctx)
		if !ok {
			_ = msg.Nak() // otherwise it is delivered after deliveryWait
			return nil
		}
		attempts.Go(func() {
			defer leave()
			o.deliver(ctx, msg, places)
		})
	}
}

// deliver waits for a delivery slot of the receiver and delivers a webhook once, or
// postpones it if too many wait for the receiver, or ctx ends before the attempt.
func (o *Outbox) deliver(ctx context.Context, msg jetstream.Msg, places *places) {
	id := strings.TrimPrefix(msg.Subject(), o.f.subject+"tell.")
	r, err := decodeWebhook(id, msg.Data())
	switch {
	case err != nil:
		o.f.log.Error("unreadable webhook given up", zap.String("webhook_id", id), zap.Error(err))
		_ = msg.TermWithReason("not a webhook")
		return
	case r.Level > level:
		_ = msg.NakWithDelay(passTime)
		return
	}
	leave, ok := places.enter(ctx, notify.HostOf(r.job.Webhooks[0].URL), func() { _ = msg.InProgress() })
	switch {
	case ok:
		defer leave()
		o.attempt(context.WithoutCancel(ctx), msg, id, r.job)
	case ctx.Err() != nil:
		_ = msg.Nak()
	default:
		_ = msg.NakWithDelay(crowdTime)
	}
}

// olderThan reports whether a message is older than this by the servers' clock, which has
// dated it. The clock of this node may be wrong.
func (o *Outbox) olderThan(ctx context.Context, meta *jetstream.MsgMetadata, age time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, operationTime)
	defer cancel()
	info, err := o.f.tell.Info(ctx)
	return err == nil && info.TimeStamp.Sub(meta.Timestamp) > age
}

// attempt delivers a webhook once.
func (o *Outbox) attempt(ctx context.Context, msg jetstream.Msg, id string, j job.Job) {
	log := o.f.log.With(zap.String("job_id", j.ID), zap.String("webhook_id", id))
	meta, err := msg.Metadata()
	if err != nil {
		log.Error("cannot read the attempt count", zap.Error(err)) // not a JetStream message
		return
	}
	failure := o.sender.Send(ctx, id, j)
	if failure == nil {
		log.Debug("webhook sent")
		o.delivered.Add(1)
		log.Debug("webhook delivered")
		_ = msg.Ack() // otherwise it is sent again, under the same id
		return
	}
	o.failed.Add(1)
	attempts := int(meta.NumDelivered)
	wait := max(notify.Wait(attempts), min(failure.RetryAfter, notify.MaxWait))
	log = log.With(zap.Int("attempts", attempts), zap.String("last_error", failure.Reason))
	if !failure.Permanent && (attempts < notify.MinAttempts || !o.olderThan(ctx, meta, notify.GiveUpAfter)) {
		log.Warn("webhook delivery failed, will retry", zap.Duration("wait", wait))
		_ = msg.NakWithDelay(wait)
		return
	}
	if err := o.f.keepGivenUp(givenUp{id, attempts, failure.Reason, msg.Data()}); err != nil {
		log.Error("cannot record failed webhook, will retry", zap.Error(err))
		_ = msg.NakWithDelay(wait)
		return
	}
	o.givenUp.Add(1)
	log.Error("webhook given up")
	_ = msg.TermWithReason("given up") // otherwise it is sent again
}
