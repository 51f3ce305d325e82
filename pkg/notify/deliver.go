package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/egress"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

const (
	attemptTimeout = 15 * time.Second // per attempt, from dialing to the end of the response
	maxResponse    = 16 << 10         // bytes read of a response body, to reuse the connection
	maxError       = 300              // length limit of a recorded error
)

// Failure is a failed attempt, described for the operator.
type Failure struct {
	Reason     string
	RetryAfter time.Duration // requested by the receiver, if at all
	Permanent  bool          // further attempts are pointless
}

// Sender makes single attempts to deliver webhooks, signed with every secret.
type Sender struct {
	deps    Deps
	signers signers
}

// NewSender returns a sender. Without secrets every attempt fails.
func NewSender(secrets []string, deps Deps) (*Sender, error) {
	signers, err := newSigners(secrets)
	return &Sender{deps, signers}, err
}

// attempt delivers a webhook once and reports whether it stays in the outbox.
func (o *Outbox) attempt(ctx context.Context, it *item) (stays bool) {
	e, err := o.entries.Read(it.id)
	switch {
	case errors.Is(err, os.ErrNotExist):
		o.log.Warn("webhook file is gone, not sending it", zap.String("webhook_id", it.id))
		return false
	case err != nil:
		o.log.Error("cannot read webhook", zap.String("webhook_id", it.id), zap.Error(err))
		it.next = time.Now().Add(MaxWait)
		return true
	}
	r := o.sender.Send(ctx, e.ID, e.job)
	if r == nil {
		o.delivered(e)
		return false
	}
	if ctx.Err() != nil {
		return true // shutdown: says nothing about the receiver
	}
	return o.failed(e, it, r)
}

func (o *Outbox) delivered(e entry) {
	log := o.log.With(e.fields()...)
	log.Debug("webhook sent")
	o.count(func(s *Stats) { s.Delivered++ })
	if _, err := o.entries.Remove(e.ID); err != nil {
		log.Error("cannot delete delivered webhook, the next start sends it again", zap.Error(err))
		return
	}
	log.Debug("webhook delivered")
}

func (o *Outbox) failed(e entry, it *item, r *Failure) (stays bool) {
	now := time.Now()
	e.Attempts++
	e.LastError = r.Reason
	e.NextAt = strictjson.At(now.Add(max(Wait(e.Attempts), min(r.RetryAfter, MaxWait))))
	it.next = now.Add(e.NextAt.Sub(now))
	log := o.log.With(append(e.fields(), zap.Int("attempts", e.Attempts), zap.String("last_error", r.Reason))...)
	o.count(func(s *Stats) { s.Failed++ })

	it.failures++
	// Attempts end after a day, but some are made in any case: the daemon may
	// have been off, and may start before the router.
	if r.Permanent || it.next.Sub(it.created) > GiveUpAfter && it.failures >= MinAttempts {
		log.Error("webhook given up")
		if err := o.giveUp(e); err != nil {
			it.next = now.Add(MaxWait)
			log.Error("cannot move failed webhook, will retry", zap.Duration("retry_in", MaxWait), zap.Error(err))
			return true
		}
		o.count(func(s *Stats) { s.GivenUp++ })
		return false
	}
	level := zap.DebugLevel
	if e.Attempts == 1 {
		level = zap.WarnLevel // later ones add nothing new
	}
	log.Log(level, "webhook delivery failed, will retry", zap.Stringer("next_at", e.NextAt))
	if err := o.entries.Write(e.ID, e); err != nil {
		log.Error("cannot record attempt", zap.Error(err))
		return true
	}
	log.Debug("webhook attempt recorded")
	return true
}

func (o *Outbox) count(step func(*Stats)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	step(&o.counts)
}

// Send delivers the webhook of a job's only receiver. It returns nil if the receiver
// accepted it.
func (s *Sender) Send(ctx context.Context, id string, j job.Job) *Failure {
	target := j.Webhooks[0].URL
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if len(s.signers) == 0 {
		return &Failure{Reason: errNoSecret.Error()}
	}
	body, err := s.body(j)
	if err != nil {
		return &Failure{Reason: oneLine("build body: "+err.Error(), target)}
	}
	return s.deps.post(ctx, s.signers, id, target, body)
}

var errNoSecret = errors.New("no webhook secret is configured")

// post signs a body and sends it to target.
func (d Deps) post(ctx context.Context, signers signers, id, target string, body []byte) *Failure {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return &Failure{Reason: reason(err, target), Permanent: true}
	}
	req.Header.Set("Content-Type", "application/json")
	if err := signers.sign(req.Header, id, time.Now(), body); err != nil {
		return &Failure{Reason: oneLine(err.Error(), target)}
	}
	resp, err := d.Client.Do(req)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Failure{Reason: fmt.Sprintf("no response within %v", attemptTimeout)}
	case err != nil:
		return &Failure{Reason: reason(err, target), Permanent: d.Permanent != nil && d.Permanent(err)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxResponse) // only the status matters
	if resp.StatusCode/100 != 2 {
		return &Failure{
			Reason:     fmt.Sprintf("receiver answered status %d", resp.StatusCode),
			RetryAfter: egress.RetryAfter(resp.Header, time.Now()),
		}
	}
	return nil
}

// body returns the payload, with the event's timestamp.
func (s *Sender) body(j job.Job) ([]byte, error) {
	data, err := s.deps.Body(j)
	if err != nil {
		return nil, err
	}
	return json.Marshal(event{"job." + string(j.Status), *j.FinishedAt, data})
}

type event struct {
	Type      string          `json:"type"`
	Timestamp strictjson.Time `json:"timestamp"`
	Data      any             `json:"data"`
}

// reason returns a client error for the record.
func reason(err error, target string) string { return oneLine(egress.WithoutURL(err).Error(), target) }

// oneLine prepares a text for the record: short, and without the query of the
// webhook's URL, which may be a secret.
func oneLine(text, target string) string {
	if _, query, ok := strings.Cut(target, "?"); ok {
		text = strings.ReplaceAll(text, "?"+query, "?…")
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return text
}
