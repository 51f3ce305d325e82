package jobs

import (
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Submission is the result of an upload: the manifest of an existing set, or a
// job.
type Submission struct {
	Manifest *manifest.Manifest
	Ticket   Ticket
	Joined   bool // the job belongs to an equal upload of another client
}

// Submit turns the received upload into a job, or joins it to an equal one. A zero
// Webhook means no webhook. If it returns a ticket, the job is durable; without a webhook
// it may be in memory until Announce.
func (a *Admission) Submit(webhook job.Webhook) (Submission, error) {
	s, upload := a.s, a.upload
	id := s.recipe.ID(upload.SHA256)
	s.log.Debug("source received", zap.String("source", upload.Digest()))
	key := imageKey(id)
	defer s.claims.lock(key)()
	if t := s.inFlightJob(key, webhook); t != nil {
		if joined, err := s.join(t, webhook, false); joined || err != nil {
			return Submission{Ticket: t, Joined: true}, err
		}
	}
	if m, err := s.config.Sets.Get(id); err == nil {
		s.config.Sets.KeepOriginal(id, upload.Path())
		return Submission{Manifest: &m}, nil
	}
	if err := s.config.Quarantine.Check(upload.Digest()); err != nil {
		return Submission{}, err
	}
	j := job.New(job.Job{Source: sourceOf(upload), Recipe: s.recipe, ImageID: id, RequestID: a.RequestID, Webhooks: webhookList(webhook), Timings: upload.Timings}, time.Now())
	s.sources.retain(j.Source.SHA256, j.ID)
	t, err := a.put(j)
	if err != nil {
		s.refused(j, err)
		return Submission{}, err
	}
	a.place, a.upload = nil, nil
	joined := t.Job().ID != j.ID // another machine accepted an equal job first
	if joined {
		s.sources.release(j.Source.SHA256, j.ID)
		s.uploads.delete(j.ID)
	}
	s.claims.index(key, t)
	return Submission{Ticket: t, Joined: joined}, nil
}

// refused deletes the source of an upload whose job was not accepted. If other machines
// may know of the job nevertheless, its source stays in the store of uploads.
func (s *Service) refused(j job.Job, err error) {
	s.sources.release(j.Source.SHA256, j.ID)
	if s.config.Shared && fault.CodeOf(err) != fault.QueueFull {
		s.uploads.untrack(j.ID)
		return
	}
	s.uploads.delete(j.ID)
}

// put makes the upload and its job durable, or keeps both in memory: if the client
// waits, no one else learns of the job, and a worker will soon start it.
func (a *Admission) put(j job.Job) (Ticket, error) {
	log := a.s.log.With(zap.String("source", a.upload.Digest()))
	inMemory := a.upload.InMemory()
	onDisk := !inMemory && !a.s.config.Shared // the spool's directory makes it durable
	hold := !onDisk && a.waits && !j.Promised() && a.place.MayHold()
	if !hold && !onDisk && a.s.config.Uploads != nil {
		if err := a.s.uploads.put(j, a.upload.Path()); err != nil {
			return nil, err
		}
	}
	if inMemory && (hold || a.s.config.Uploads != nil) {
		a.upload.Hold()
	} else if err := a.upload.Keep(); err != nil {
		return nil, err
	}
	if hold {
		log.Debug("source held in memory")
		return a.place.Hold(j), nil
	}
	log.Debug("source stored")
	return a.place.Put(j)
}

// Announce makes a job durable, guarantees that its end will be recorded, and
// returns it, so that its id can be returned to a client. If the job has ended
// already, no record remains and the caller must not return its id.
func (s *Service) Announce(t Ticket) (job.Job, error) {
	if err := s.persist(t); err != nil {
		return job.Job{}, err
	}
	return t.Announce(), nil
}

// persist makes an in-memory job durable, its source first.
func (s *Service) persist(t Ticket) error {
	if t.Recorded() {
		return nil
	}
	j := t.Job()
	const reader = "persist" // the job may end meanwhile
	s.sources.retain(j.Source.SHA256, reader+j.ID)
	defer s.sources.release(j.Source.SHA256, reader+j.ID)
	if err := s.persistSource(j); err != nil {
		if t.Job().Status.Ended() {
			return nil
		}
		return err
	}
	return t.Record()
}

// persistSource makes the source of an in-memory job durable.
func (s *Service) persistSource(j job.Job) error {
	if s.config.Uploads == nil {
		return s.config.Spool.Persist(j.Source.SHA256)
	}
	src, err := s.config.Spool.Source(j.Source.SHA256)
	if err != nil {
		return err
	}
	defer src.Close()
	return s.uploads.put(j, src.Name())
}

// Request accepts a job that names its source, with Input, Options and Metadata
// set. If an equal job is in flight, it adds the webhook to that job and returns
// it. If it returns a ticket, the job is durable.
func (s *Service) Request(j job.Job, webhook job.Webhook) (Ticket, error) {
	if err := s.running(); err != nil {
		return nil, err
	}
	recipe, err := j.Options.Recipe(s.config.Ladder, s.config.Writes)
	if err != nil && s.config.Elsewhere != nil {
		recipe, err = j.Options.Recipe(s.config.Ladder, s.config.Elsewhere())
	}
	if err != nil {
		return nil, err
	}
	j.Recipe = recipe
	if id, ok := job.ImageInput(j.Input); ok {
		if _, err := s.config.Sets.Original(id); err != nil {
			return nil, err
		}
	}
	if err := s.ready(0, 0); err != nil {
		return nil, err
	}
	defer s.claims.lock(j.Key())()
	if t := s.inFlightJob(j.Key(), webhook); t != nil && !t.Job().Status.Ended() {
		if joined, err := s.join(t, webhook, j.Background); joined || err != nil {
			return t, err
		}
	}
	place, err := s.config.Queue.Reserve(false)
	if err != nil {
		return nil, err
	}
	defer place.Release()
	j.Webhooks = webhookList(webhook)
	t, err := place.Put(job.New(j, time.Now()))
	if err != nil {
		return nil, err
	}
	s.claims.index(j.Key(), t)
	return t, nil
}

// inFlightJob returns the job to join, or nil. A waiting client can join a job
// that has just ended; a webhook cannot, since that job delivers no further
// webhooks.
func (s *Service) inFlightJob(key string, webhook job.Webhook) Ticket {
	t := s.claims.ticket(key)
	if t == nil || webhook.URL != "" && t.Job().Status.Ended() {
		return nil
	}
	return t
}

// join adds a webhook to a job, and raises the job unless the work is requested in the
// background again; ok is false if the job has just ended.
func (s *Service) join(t Ticket, webhook job.Webhook, background bool) (ok bool, err error) {
	if webhook.URL != "" {
		if err := s.persist(t); err != nil {
			return true, err
		}
		if ok, err := t.AddWebhook(webhook); !ok || err != nil {
			return ok, err
		}
	}
	if !background {
		if err := t.Raise(); err != nil { // it is raised, at least until the next start
			s.log.Warn("cannot record the priority of a job", zap.String("job_id", t.Job().ID), zap.Error(err))
		}
	}
	return true, nil
}

func sourceOf(upload *spool.Upload) job.Source {
	return job.Source{SHA256: upload.Digest(), Filename: upload.Filename, Bytes: upload.Bytes}
}

func webhookList(w job.Webhook) []job.Webhook {
	if w.URL == "" {
		return nil
	}
	return []job.Webhook{w}
}
