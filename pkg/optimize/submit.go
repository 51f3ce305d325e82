package optimize

import (
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/intake"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/queue"
)

// Submission is what became of an upload: a manifest that was there already,
// or a job.
type Submission struct {
	Manifest *manifest.Manifest
	Ticket   *queue.Ticket
	Joined   bool // the job is that of an equal upload, and somebody else's
}

// Submit takes over an upload; the zero webhook is none. When it returns a
// ticket, the job is durable. The caller still releases the place and discards
// the upload; whatever became theirs is not touched by that.
func (s *Service) Submit(place *queue.Place, upload *intake.Upload, webhook job.Webhook) (Submission, error) {
	id := s.recipe.ID(upload.SHA256)
	s.Log.Debug("source received", zap.String("source", upload.Digest()))
	for {
		s.mu.Lock()
		t := onItsWay(s.inFlight, id, webhook)
		if t == nil {
			defer s.mu.Unlock()
			return s.submit(place, upload, id, webhook)
		}
		s.mu.Unlock()
		if joined, err := join(t, webhook); joined || err != nil {
			return Submission{Ticket: t, Joined: true}, err
		}
	}
}

// submit is Submit where no equal job is on its way. s.mu is held.
func (s *Service) submit(place *queue.Place, upload *intake.Upload, id string, webhook job.Webhook) (Submission, error) {
	if m, err := s.Maker.Store.Get(id); err == nil {
		s.Maker.Store.KeepOriginal(id, upload.Path())
		return Submission{Manifest: &m}, nil
	}
	if err := s.Quarantine.Check(upload.Digest()); err != nil {
		return Submission{}, err
	}
	if err := upload.Keep(); err != nil {
		return Submission{}, err
	}
	s.Log.Debug("source kept", zap.String("source", upload.Digest()))
	j := job.Job{Source: sourceOf(upload), Recipe: s.recipe, ImageID: id, Webhooks: list(webhook)}
	t, err := place.Put(job.New(j, time.Now()))
	if err != nil {
		if s.users[j.Source.SHA256] == 0 {
			s.dropSource(j.Source.SHA256)
		}
		return Submission{}, err
	}
	s.inFlight[id] = t
	s.users[j.Source.SHA256]++
	return Submission{Ticket: t}, nil
}

func sourceOf(upload *intake.Upload) job.Source {
	return job.Source{SHA256: upload.Digest(), Filename: upload.Filename, Bytes: upload.Bytes}
}

func list(w job.Webhook) []job.Webhook {
	if w.URL == "" {
		return nil
	}
	return []job.Webhook{w}
}

// onItsWay returns the job to join, or nil. One that has just ended is as good
// as another for whoever waits for it, but it tells no more webhooks.
// Service.mu is held.
func onItsWay(index map[string]*queue.Ticket, key string, webhook job.Webhook) *queue.Ticket {
	t, ok := index[key]
	if !ok || webhook.URL != "" && t.Job().Status.Ended() {
		return nil
	}
	return t
}

// join adds a webhook to a job; ok is false when it has just ended. Service.mu
// is not held: others need not wait until the record is written.
func join(t *queue.Ticket, webhook job.Webhook) (ok bool, err error) {
	if webhook.URL == "" {
		return true, nil
	}
	return t.Notify(webhook)
}

// Request takes a job that names its picture: its Input, Options, Metadata and
// webhook. While an equal one is on its way it gives that, which then has the
// webhooks of both. When it returns a ticket, the job is durable.
func (s *Service) Request(j job.Job, webhook job.Webhook) (*queue.Ticket, error) {
	recipe, err := j.Options.Recipe(s.Ladder, s.Writes)
	if err != nil {
		return nil, err
	}
	j.Recipe = recipe
	if id, ok := job.ImageInput(j.Input); ok {
		if _, _, err := s.Maker.Store.Original(id); err != nil {
			return nil, err
		}
	}
	for {
		s.mu.Lock()
		t := onItsWay(s.requests, j.Key(), webhook)
		if t == nil || t.Job().Status.Ended() {
			defer s.mu.Unlock()
			return s.request(j, webhook)
		}
		s.mu.Unlock()
		if joined, err := join(t, webhook); joined || err != nil {
			return t, err
		}
	}
}

// request is Request where no equal job is on its way. s.mu is held.
func (s *Service) request(j job.Job, webhook job.Webhook) (*queue.Ticket, error) {
	place, err := s.Queue.Reserve()
	if err != nil {
		return nil, err
	}
	defer place.Release()
	j.Webhooks = list(webhook)
	t, err := place.Put(job.New(j, time.Now()))
	if err != nil {
		return nil, err
	}
	s.requests[j.Key()] = t
	return t, nil
}
