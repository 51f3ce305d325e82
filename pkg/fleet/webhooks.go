package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// webhookMessage is the content of a message in tell: which receiver of which job.
func webhookMessage(jobID string, target int) []byte {
	return []byte(jobID + " " + strconv.Itoa(target))
}

// givenUp is what is kept of a webhook that was given up.
type givenUp struct {
	ID       string `json:"id"`
	JobID    string `json:"job_id"`
	Target   int    `json:"target"`
	Attempts int    `json:"attempts"`
	Reason   string `json:"reason"`
}

const givenUpPrefix = "given-up."

// giveUp records a webhook as failed and ends its message.
func (o *Outbox) giveUp(msg jetstream.Msg, g givenUp, log *zap.Logger) {
	o.givenUp.Add(1)
	b, err := json.Marshal(g)
	if err == nil {
		err = o.f.state.set(givenUpPrefix+g.ID, b, o.f.config.Keep)
	}
	if err != nil {
		log.Error("cannot record failed webhook", zap.Error(err))
	}
	_ = msg.TermWithReason("given up") // otherwise it is sent again
}

// Retry sends a webhook now, with a day of attempts before it: one that was given up,
// or one that waits for its next attempt. It returns a NotFound fault if there is none.
func (o *Outbox) Retry(id string) error {
	if !validName.MatchString(id) {
		return errNoWebhook
	}
	ctx, cancel := context.WithTimeout(o.f.ctx, operationTime)
	defer cancel()
	subject := o.f.subject + "tell." + id
	msg, err := o.f.tell.GetLastMsgForSubject(ctx, subject)
	if err == nil { // what is being sent at this moment is sent twice, under one id
		failure := o.f.tell.DeleteMsg(ctx, msg.Sequence)
		if failure == nil {
			return o.resend(ctx, subject, msg.Data)
		}
		if _, err = o.f.tell.GetLastMsgForSubject(ctx, subject); err == nil {
			return unavailable(failure)
		}
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) { // it was never there, or has just ended
		return unavailable(err)
	}
	v, err := o.f.state.get(givenUpPrefix + id)
	if err != nil {
		return err
	}
	var g givenUp
	if v.data == nil || json.Unmarshal(v.data, &g) != nil {
		return errNoWebhook
	}
	if err := o.resend(ctx, subject, webhookMessage(g.JobID, g.Target)); err != nil {
		return err
	}
	if err := o.f.state.remove(givenUpPrefix+id, v.revision); !errors.Is(err, errChanged) {
		return err
	}
	return nil
}

func (o *Outbox) resend(ctx context.Context, subject string, data []byte) error {
	if _, err := o.f.js.Publish(ctx, subject, data); err != nil && !hasCode(err, codeRefused) {
		return unavailable(err)
	}
	return nil
}

var errNoWebhook = fault.New(fault.NotFound, "There is no webhook with this id that waits or was given up.")

// Webhooks returns the webhooks of all nodes that are not delivered, oldest first.
// NATS does not say how often one that waits was tried, and when it is next.
func (f *Fleet) Webhooks(ctx context.Context) (all []notify.Webhook, err error) {
	for at := uint64(1); ; {
		msg, err := f.tell.GetMsg(ctx, at, jetstream.WithGetMsgSubject(f.subject+"tell.>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, unavailable(err)
		}
		at = msg.Sequence + 1
		if jobID, target, ok := parseWebhook(msg.Data); ok {
			w := notify.Webhook{ID: msg.Subject[len(f.subject+"tell."):], JobID: jobID, CreatedAt: strictjson.At(msg.Time)}
			all = append(all, f.addTarget(w, target))
		}
	}
	err = f.state.each(ctx, givenUpPrefix, func(_ string, v value) error {
		var g givenUp
		if json.Unmarshal(v.data, &g) == nil {
			w := notify.Webhook{ID: g.ID, JobID: g.JobID, CreatedAt: strictjson.At(v.at), GivenUp: true, Attempts: g.Attempts, LastError: g.Reason}
			all = append(all, f.addTarget(w, g.Target))
		}
		return nil
	})
	slices.SortFunc(all, func(a, b notify.Webhook) int { return strings.Compare(a.ID, b.ID) })
	return all, err
}

// addTarget adds the receiver and the event, if the job's record still exists.
func (f *Fleet) addTarget(w notify.Webhook, target int) notify.Webhook {
	v, err := f.jobs.get(w.JobID)
	if err != nil || v.data == nil {
		return w
	}
	r, err := decodeRecord(w.JobID, v.data)
	if err == nil && target < len(r.job.Webhooks) {
		w.URL, w.Event = r.job.Webhooks[target].URL, "job."+string(r.job.Status)
	}
	return w
}
