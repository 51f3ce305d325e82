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

// Webhook is a URL that is told of a job's end, and the base that its client
// knows this server by. The zero Webhook is none.
type Webhook struct{ URL, Base string }

// Submit takes over an upload. When it returns a ticket, the job is durable.
// The caller still releases the place and discards the upload; whatever became
// theirs is not touched by that.
func (s *Service) Submit(place *queue.Place, upload *intake.Upload, webhook Webhook) (Submission, error) {
	id := s.recipe.ID(upload.SHA256)
	s.Log.Debug("source received", zap.String("source", upload.Digest()))
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, err := s.Maker.Store.Get(id); err == nil {
		return Submission{Manifest: &m}, s.Maker.Store.KeepOriginal(id, upload.Path())
	}
	if t, ok := s.inFlight[id]; ok {
		joined, err := join(t, webhook)
		if joined || err != nil {
			return Submission{Ticket: t, Joined: true}, err
		}
	}
	if err := s.Quarantine.Check(upload.Digest()); err != nil {
		return Submission{}, err
	}
	if err := upload.Keep(); err != nil {
		return Submission{}, err
	}
	s.Log.Debug("source kept", zap.String("source", upload.Digest()))
	j := job.Job{Source: sourceOf(upload), Recipe: s.recipe, ImageID: id}
	if webhook.URL != "" {
		j.Webhooks, j.Base = []string{webhook.URL}, webhook.Base
	}
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

// join adds a webhook to a job that is on its way; ok is false when it has just
// ended.
func join(t *queue.Ticket, webhook Webhook) (ok bool, err error) {
	if webhook.URL == "" {
		return true, nil
	}
	return t.Notify(webhook.URL, webhook.Base)
}

// Request takes a job that names its picture: its Input, Options, Metadata and
// webhook. While an equal one is on its way it gives that, which then has the
// webhooks of both. When it returns a ticket, the job is durable.
func (s *Service) Request(j job.Job, webhook Webhook) (*queue.Ticket, error) {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.requests[j.Key()]; ok && !t.Job().Status.Ended() {
		if joined, err := join(t, webhook); joined || err != nil {
			return t, err
		}
	}
	place, err := s.Queue.Reserve()
	if err != nil {
		return nil, err
	}
	defer place.Release()
	if webhook.URL != "" {
		j.Webhooks, j.Base = []string{webhook.URL}, webhook.Base
	}
	t, err := place.Put(job.New(j, time.Now()))
	if err != nil {
		return nil, err
	}
	s.requests[j.Key()] = t
	return t, nil
}
