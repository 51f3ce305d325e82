package notify

import (
	"container/heap"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Webhook is what an operator sees of one webhook in the outbox.
type Webhook struct {
	ID         string           `json:"id"`
	JobID      string           `json:"job_id"`
	URL        string           `json:"url"`
	Event      string           `json:"event"`
	Attempts   int              `json:"attempts"`
	CreatedAt  strictjson.Time  `json:"created_at"`
	NextAt     *strictjson.Time `json:"next_at"` // null if it was given up
	GivenUp    bool             `json:"given_up"`
	LastError  string           `json:"last_error,omitempty"`
	Unreadable string           `json:"unreadable,omitempty"` // why the record cannot be read; the rest is unknown then
}

// List returns the webhooks of an outbox without opening it, oldest first. It can
// run beside the daemon.
func List(dir string) (all []Webhook, err error) {
	for _, part := range []struct {
		dir     string
		givenUp bool
	}{{dir, false}, {filepath.Join(dir, failedDir), true}} {
		entries := folder(part.dir)
		ids, err := entries.IDs()
		if err != nil {
			return nil, fmt.Errorf("list webhooks: %w", err)
		}
		for _, id := range ids {
			e, err := entries.Read(id)
			switch {
			case errors.Is(err, fs.ErrNotExist): // delivered meanwhile
			case err != nil:
				all = append(all, Webhook{ID: id, GivenUp: part.givenUp, Unreadable: err.Error()})
			default:
				all = append(all, e.webhook(part.givenUp))
			}
		}
	}
	slices.SortFunc(all, func(a, b Webhook) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(all, func(a, b Webhook) bool { return a.ID == b.ID }), nil // one may have been moved meanwhile
}

func (e entry) webhook(givenUp bool) Webhook {
	w := Webhook{
		ID: e.ID, JobID: e.job.ID, URL: e.url(), Event: "job." + string(e.job.Status), Attempts: e.Attempts,
		CreatedAt: e.CreatedAt, GivenUp: givenUp, LastError: e.LastError,
	}
	if !givenUp {
		w.NextAt = &e.NextAt
	}
	return w
}

// Retry makes a webhook due now: one that was given up, with another day of
// attempts, or one that waits for its next attempt. It returns a NotFound fault
// if there is none, and a Conflict fault while it is being sent.
func (o *Outbox) Retry(id string) error {
	o.moving.Lock()
	defer o.moving.Unlock()
	e, err := o.givenUp.Read(id)
	if errors.Is(err, fs.ErrNotExist) {
		return o.hasten(id)
	}
	if err != nil {
		return fmt.Errorf("retry webhook: %w", err)
	}
	now := time.Now()
	at := strictjson.At(now)
	e.Attempts, e.CreatedAt, e.NextAt = 0, at, at
	if err := o.entries.Write(id, e); err != nil {
		return fmt.Errorf("retry webhook: %w", err)
	}
	if _, err := o.givenUp.Remove(id); err != nil {
		return fmt.Errorf("retry webhook: %w", err)
	}
	o.log.Info("webhook retried", e.fields()...)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add([]*item{e.item(now)})
	return nil
}

// hasten makes a webhook that waits for its next attempt due now.
func (o *Outbox) hasten(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, it := range o.due {
		if it.id == id {
			it.next = time.Now()
			heap.Fix(&o.due, i)
			o.signal()
			o.log.Info("webhook retried", zap.String("webhook_id", id))
			return nil
		}
	}
	if o.entries.Has(id) {
		return fault.New(fault.Conflict, "The webhook is being sent, or its job has not ended.")
	}
	return fault.New(fault.NotFound, "There is no webhook with this id; it may have been delivered.")
}

// Test sends a signed webhook of the type webhook.test to target, in the same
// way as the daemon, and returns why the receiver did not accept it.
func Test(ctx context.Context, client *http.Client, secrets []string, target string) error {
	signers, err := newSigners(secrets)
	if err != nil {
		return err
	}
	if len(signers) == 0 {
		return fmt.Errorf("%w, or this user cannot read it: try with sudo, or put one into /etc/credstore/optimizerd.webhook-secrets (docs/secrets.md)", errNoSecret)
	}
	body, err := json.Marshal(event{"webhook.test", strictjson.At(time.Now()), struct{}{}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if f := (Deps{Client: client}).post(ctx, signers, "msg_test_"+rand.Text(), target, body); f != nil {
		return errors.New(f.Reason)
	}
	return nil
}
