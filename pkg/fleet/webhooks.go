package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/notify"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// givenUp is the record of a webhook that was given up.
type givenUp struct {
	ID       string `json:"id"`
	Attempts int    `json:"attempts"`
	Reason   string `json:"reason"`
	Message  []byte `json:"message"` // as in tell
}

const givenUpPrefix = "given-up."

// keepGivenUp records a webhook as given up.
func (f *Fleet) keepGivenUp(g givenUp) error {
	b, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return f.state.overwrite(givenUpPrefix+g.ID, b, f.config.Keep)
}

// Retry sends a webhook now, with another day of attempts: one that was given up, or
// one that waits for its next attempt. It returns a NotFound fault if there is none.
func (o *Outbox) Retry(id string) error {
	if !validName.MatchString(id) {
		return errNoWebhook
	}
	ctx, cancel := context.WithTimeout(o.f.ctx, operationTime)
	defer cancel()
	msg, err := o.f.tell.GetLastMsgForSubject(ctx, o.f.subject+"tell."+id)
	if err == nil { // a webhook being sent right now is sent twice, under one id
		g := givenUp{ID: id, Reason: "it was being retried", Message: msg.Data} // if this process dies before that
		if err := o.f.keepGivenUp(g); err != nil {
			return err
		}
		if err := deleteMessage(ctx, o.f.tell, msg.Sequence); err != nil {
			return err
		}
	} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
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
	if err := o.f.publishWebhook(ctx, id, g.Message); err != nil {
		return err
	}
	if err := o.f.state.remove(givenUpPrefix+id, v.revision); !errors.Is(err, errChanged) {
		return err
	}
	return nil
}

var errNoWebhook = fault.New(fault.NotFound, "There is no pending or given-up webhook with this id.")

// Webhooks returns the undelivered webhooks of all nodes, oldest first. NATS does
// not report how often a waiting one was attempted, or when it is due. One that is being
// given up or retried counts as waiting until its message is gone.
func (f *Fleet) Webhooks(ctx context.Context) (all []notify.Webhook, err error) {
	waiting := make(map[string]bool)
	for at := uint64(1); ; {
		msg, err := f.tell.GetMsg(ctx, at, jetstream.WithGetMsgSubject(f.subject+"tell.>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, unavailable(err)
		}
		at = msg.Sequence + 1
		if w, ok := webhookOf(msg.Subject[len(f.subject+"tell."):], msg.Data); ok {
			w.CreatedAt = strictjson.At(msg.Time)
			all = append(all, w)
			waiting[w.ID] = true
		}
	}
	err = f.state.each(ctx, givenUpPrefix, func(_ string, v value) error {
		var g givenUp
		if json.Unmarshal(v.data, &g) != nil {
			return nil //nolint:nilerr // unreadable webhooks are not listed
		}
		if w, ok := webhookOf(g.ID, g.Message); ok && !waiting[g.ID] {
			w.CreatedAt, w.GivenUp, w.Attempts, w.LastError = strictjson.At(v.at), true, g.Attempts, g.Reason
			all = append(all, w)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b notify.Webhook) int { return strings.Compare(a.ID, b.ID) })
	return all, err
}

// webhookOf returns the webhook of a message as shown to operators. ok is false if it
// is unreadable or of a higher level.
func webhookOf(id string, message []byte) (w notify.Webhook, ok bool) {
	r, err := decodeWebhook(id, message)
	if err != nil || r.Level > level {
		return w, false
	}
	return notify.Webhook{ID: id, JobID: r.job.ID, URL: r.job.Webhooks[0].URL, Event: "job." + string(r.job.Status)}, true
}
