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
// ticket, the job is durable, or held in memory until Announce if the upload is
// and there is no webhook. The caller still releases the place and discards
// the upload; whatever became theirs is not touched by that.
func (s *Service) Submit(place *queue.Place, upload *intake.Upload, webhook job.Webhook) (Submission, error) {
	id := s.recipe.ID(upload.SHA256)
	s.Log.Debug("source received", zap.String("source", upload.Digest()))
	lock := s.lockFor(id)
	lock.Lock()
	defer lock.Unlock()
	if t := s.inFlightJob(s.inFlight, id, webhook); t != nil {
		if joined, err := s.join(t, webhook); joined || err != nil {
			return Submission{Ticket: t, Joined: true}, err
		}
	}
	if m, err := s.Maker.Store.Get(id); err == nil {
		s.Maker.Store.KeepOriginal(id, upload.Path())
		return Submission{Manifest: &m}, nil
	}
	if err := s.Quarantine.Check(upload.Digest()); err != nil {
		return Submission{}, err
	}
	source := sourceOf(upload)
	s.retain(source.SHA256)
	t, err := s.accept(place, upload, job.Job{Source: source, Recipe: s.recipe, ImageID: id, Webhooks: webhookList(webhook), Timings: upload.Timings})
	if err != nil {
		s.release(source.SHA256)
		return Submission{}, err
	}
	s.index(s.inFlight, id, t)
	return Submission{Ticket: t}, nil
}

// accept makes an upload and its job durable, or holds both in memory.
func (s *Service) accept(place *queue.Place, upload *intake.Upload, j job.Job) (*queue.Ticket, error) {
	if upload.InMemory() && !j.Promised() {
		upload.Hold()
		s.Log.Debug("source held in memory", zap.String("source", upload.Digest()))
		return place.Hold(job.New(j, time.Now())), nil
	}
	if err := upload.Keep(); err != nil {
		return nil, err
	}
	s.Log.Debug("source stored", zap.String("source", upload.Digest()))
	return place.Put(job.New(j, time.Now()))
}

// Announce promises that the job will be done and its end be on record, which
// survives a power cut, and returns the job. One that has ended already was not
// announced: the caller must not tell its id.
func (s *Service) Announce(t *queue.Ticket) (job.Job, error) {
	if err := s.persist(t); err != nil {
		return job.Job{}, err
	}
	return t.Announce(), nil
}

// persist makes a job durable that is held in memory, its source first.
func (s *Service) persist(t *queue.Ticket) error {
	if t.Recorded() {
		return nil
	}
	j := t.Job()
	s.retain(j.Source.SHA256) // the job may end meanwhile
	defer s.release(j.Source.SHA256)
	if err := s.Spool.Persist(j.Source.SHA256); err != nil {
		if t.Job().Status.Ended() {
			return nil
		}
		return err
	}
	return t.Record()
}

func sourceOf(upload *intake.Upload) job.Source {
	return job.Source{SHA256: upload.Digest(), Filename: upload.Filename, Bytes: upload.Bytes}
}

func webhookList(w job.Webhook) []job.Webhook {
	if w.URL == "" {
		return nil
	}
	return []job.Webhook{w}
}

// inFlightJob returns the job to join, or nil. One that has just ended is as good
// as another for whoever waits for it, but it tells no more webhooks.
func (s *Service) inFlightJob(index map[string]*queue.Ticket, key string, webhook job.Webhook) *queue.Ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := index[key]
	if !ok || webhook.URL != "" && t.Job().Status.Ended() {
		return nil
	}
	return t
}

// join adds a webhook to a job; ok is false when it has just ended.
func (s *Service) join(t *queue.Ticket, webhook job.Webhook) (ok bool, err error) {
	if webhook.URL == "" {
		return true, nil
	}
	if err := s.persist(t); err != nil {
		return true, err
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
	lock := s.lockFor(j.Key())
	lock.Lock()
	defer lock.Unlock()
	if t := s.inFlightJob(s.requests, j.Key(), webhook); t != nil && !t.Job().Status.Ended() {
		if joined, err := s.join(t, webhook); joined || err != nil {
			return t, err
		}
	}
	place, err := s.Queue.Reserve()
	if err != nil {
		return nil, err
	}
	defer place.Release()
	j.Webhooks = webhookList(webhook)
	t, err := place.Put(job.New(j, time.Now()))
	if err != nil {
		return nil, err
	}
	s.index(s.requests, j.Key(), t)
	return t, nil
}
