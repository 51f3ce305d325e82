package jobs_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/queue"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// sharedQueue is a queue whose jobs are ended by another machine when they return to it.
type sharedQueue struct {
	*queue.Queue
	endedElsewhere func(job.Job)
}

func (q *sharedQueue) Lease(ctx context.Context, phase jobs.Phase) (jobs.Lease, error) {
	l, err := q.Queue.Lease(ctx, phase)
	if err != nil {
		return nil, err
	}
	return sharedLease{l, q}, nil
}

type sharedLease struct {
	jobs.Lease
	q *sharedQueue
}

// Return has the other machine fail to get the source of the job.
func (l sharedLease) Return() error {
	j, err := l.End(fault.New(fault.InputRefused, "The origin answered 404."))
	if err == nil {
		err = l.Record()
	}
	j.Source, j.ImageID = job.Source{}, ""
	l.q.endedElsewhere(j)
	l.Wake()
	return err
}

// An upload must not be answered by a job of the same image that was resolved here,
// returned, and failed elsewhere because its URL has no image any more.
func TestJobThatFailsElsewhereLeavesNothingHere(t *testing.T) {
	shared := new(sharedQueue)
	before := func(_ context.Context, run int64) error {
		if run == 1 {
			return &codec.Unavailable{Cause: errors.New("fork: resource temporarily unavailable")}
		}
		return nil
	}
	h := newFixture(t, t.TempDir(), before, func(d *jobs.Config) {
		shared.Queue = d.Queue.(*queue.Queue)
		d.Queue, d.Shared, d.Fetcher = shared, true, &origin{spool: d.Spool}
	})
	shared.endedElsewhere = h.EndedElsewhere
	if j := h.request(t, "https://example.com/cat.gif", job.Options{}).Wait(t.Context()); j.Status != job.Failed {
		t.Fatalf("the job is %s", j.Status)
	}
	if n := h.spooled(t); n != 0 {
		t.Errorf("%d sources are left", n)
	}
	s, err := h.try(gif, job.Webhook{}, true)
	if err != nil {
		t.Fatal(err)
	}
	if j := s.Ticket.Wait(t.Context()); s.Joined || j.Status != job.Completed {
		t.Errorf("an upload of the image joined: %v, and is %s, %+v", s.Joined, j.Status, j.Error)
	}
}

// This machine may learn of an end after the job was retried here.
func TestEndElsewhereKeepsTheRetryOfIt(t *testing.T) {
	running, finish := make(chan struct{}), make(chan struct{})
	h := newFixture(t, t.TempDir(), func(_ context.Context, run int64) error {
		if run == 1 {
			return fault.New(fault.CorruptImage, "The image is damaged.")
		}
		close(running)
		<-finish
		return nil
	})
	s, err := h.try(gif, job.Webhook{URL: "https://example.com", Base: "http://x"}, false)
	if err != nil {
		t.Fatal(err)
	}
	failed := s.Ticket.Wait(t.Context())
	again, err := h.Retry(t.Context(), failed.ID)
	if err != nil {
		t.Fatal(err)
	}
	<-running
	h.EndedElsewhere(failed)
	if n := h.spooled(t); n != 1 {
		t.Errorf("%d sources are in the spool while the job needs one", n)
	}
	if equal := h.submit(t, gif); !equal.Joined || equal.Ticket.Job().ID != failed.ID {
		t.Errorf("an equal upload is %+v, and does not join", equal)
	}
	close(finish)
	if j := again.Wait(t.Context()); j.Status != job.Completed {
		t.Errorf("the job is %s, %+v", j.Status, j.Error)
	}
}

// A newer version may have written it.
func TestSourceOfAJobThatCannotBeReadStays(t *testing.T) {
	dir := t.TempDir()
	const id = "job_01m8h6pd5ws96z8nxff9mwektz"
	source := strings.Repeat("ab", 32)
	for name, content := range map[string]string{
		"queue/pending/" + id + ".json": `{"id": "` + id + `", "source": {"sha256": "` + source + `"}, "new": 1}`,
		"spool/" + source:               "source", "spool/" + strings.Repeat("cd", 32): "source of no job",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	h := newFixture(t, dir, nil)
	if _, err := os.Stat(filepath.Join(dir, "spool", source)); err != nil || h.spooled(t) != 1 {
		t.Errorf("%v; %d sources in the spool, want that of the job", err, h.spooled(t))
	}
	if !h.Retryable(id) { // or its source is deleted from the bucket
		t.Error("its source is not needed any more")
	}
}

// fullQueue refuses each job when it is put, as the server of a fleet may.
type fullQueue struct{ *queue.Queue }

func (q fullQueue) Reserve(upload bool) (jobs.Place, error) {
	p, err := q.Queue.Reserve(upload)
	return fullPlace{p}, err
}

type fullPlace struct{ jobs.Place }

func (fullPlace) Put(job.Job) (jobs.Ticket, error) {
	return nil, fault.New(fault.QueueFull, "The queue is full.")
}

// remote is a store of uploads.
type remote map[string]bool

func (r remote) Put(jobID, _, _ string) error {
	r[jobID] = true
	return nil
}

func (r remote) Get(context.Context, job.Job, *spool.Spool) error { return fs.ErrNotExist }
func (r remote) Delete(jobID string)                              { delete(r, jobID) }

func TestUploadThatIsRefusedAtLastLeavesNothingInTheStore(t *testing.T) {
	for _, shared := range []bool{false, true} {
		dir, store := t.TempDir(), make(remote)
		h := newFixture(t, dir, nil, inMemory(t, dir), func(d *jobs.Config) {
			d.Queue, d.Uploads, d.Shared = fullQueue{d.Queue.(*queue.Queue)}, store, shared
		})
		if _, err := h.try(gif, job.Webhook{URL: "https://example.com", Base: "http://x"}, true); fault.CodeOf(err) != fault.QueueFull {
			t.Errorf("shared %v: got %v", shared, err)
		}
		if len(store) != 0 || h.spooled(t) != 0 {
			t.Errorf("shared %v: %d sources are left in the store, %d in the spool", shared, len(store), h.spooled(t))
		}
	}
}

// The record of a job may be missing where this machine looks: at a server that was cut
// off from the others. Another machine needs the source nevertheless.
func TestSourceOfAJobThatIsNotFoundStaysInTheStore(t *testing.T) {
	running, finish := make(chan struct{}), make(chan struct{})
	dir, store := t.TempDir(), make(remote)
	h := newFixture(t, dir, func(context.Context, int64) error {
		close(running)
		<-finish
		return nil
	}, inMemory(t, dir), func(d *jobs.Config) { d.Uploads, d.Shared = store, true })
	s, err := h.try(gif, job.Webhook{URL: "https://example.com", Base: "http://x"}, true)
	if err != nil {
		t.Fatal(err)
	}
	<-running
	j := s.Ticket.Job()
	h.EndedElsewhere(j)
	if !store[j.ID] {
		t.Error("the source is deleted, and the job has not ended")
	}
	close(finish)
	s.Ticket.Wait(t.Context())
}
