// Package queuetest tests what package jobs expects of a queue, wherever that keeps its
// jobs.
package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Queue is what is tested.
type Queue interface {
	jobs.Queue
	Close()
}

// Places is the number of jobs that a queue under test takes.
const Places = 8

// Run tests the queues that open returns; each is empty, and closed by its owner.
func Run(t *testing.T, open func(t *testing.T) Queue) {
	for name, test := range map[string]func(*suite){
		"a job is put, leased and ended":                      (*suite).putLeaseEnd,
		"a job fails with its cause, and is retried":          (*suite).failAndRetry,
		"a job that is returned is leased again":              (*suite).returned,
		"a waiter is notified of the end, or stops waiting":   (*suite).wait,
		"a full queue refuses, jobs before uploads":           (*suite).full,
		"a job by URL goes through both phases":               (*suite).resolve,
		"a held job gets a record when a client relies on it": (*suite).hold,
		"a job has a bounded number of webhooks":              (*suite).webhooks,
		"jobs are listed newest first, in pages":              (*suite).list,
		"only a waiting job can be taken":                     (*suite).take,
		"a single variant does not wait for ladders":          (*suite).lanes,
		"unknown jobs are not found":                          (*suite).unknown,
		"a closed queue leases nothing":                       (*suite).closed,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{T: t, q: open(t)}) })
	}
}

type suite struct {
	*testing.T
	q    Queue
	jobs int
}

// upload returns a job that is another one each time.
func (s *suite) upload() job.Job {
	s.jobs++
	letter := string(rune('a' + s.jobs))
	return job.New(job.Job{
		Source: job.Source{SHA256: strings.Repeat("ab", 32), Bytes: 3}, Recipe: ladder.DefaultConfig().Recipe(), ImageID: strings.Repeat(letter, 26),
	}, time.Now().Add(time.Duration(s.jobs)*time.Millisecond)) // ids sort by time
}

func (s *suite) byURL(recipe ladder.Recipe) job.Job {
	s.jobs++
	return job.New(job.Job{Input: fmt.Sprintf("https://cdn.example.com/%d", s.jobs), Recipe: recipe}, time.Now())
}

func (s *suite) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) put(j job.Job) jobs.Ticket {
	s.Helper()
	place, err := s.q.Reserve(true)
	s.check(err)
	t, err := place.Put(j)
	s.check(err)
	place.Release()
	return t
}

func (s *suite) lease(phase jobs.Phase) jobs.Lease {
	s.Helper()
	l, err := s.q.Lease(s.Context(), phase)
	s.check(err)
	return l
}

func (s *suite) end(l jobs.Lease, cause error) job.Job {
	s.Helper()
	j, err := l.End(cause)
	s.check(err)
	s.check(l.Record())
	l.Wake()
	return j
}

func (s *suite) has(id string, status job.Status) job.Job {
	s.Helper()
	j, err := s.q.Get(id)
	s.check(err)
	if j.Status != status {
		s.Errorf("job %s is %s, want %s", id, j.Status, status)
	}
	return j
}

func (s *suite) putLeaseEnd() {
	want := s.upload()
	t := s.put(want)
	if !t.Recorded() || t.Job().ID != want.ID {
		s.Errorf("the ticket of %+v", t.Job())
	}
	s.has(want.ID, job.Pending)
	t.Announce()
	l := s.lease(jobs.Render)
	if j := l.Job(); j.ID != want.ID || j.Status != job.Processing || j.Attempts != 1 || !l.Announced() {
		s.Errorf("leased: %+v", j)
	}
	if active := s.q.Active(); len(active) != 1 || active[0].ID != want.ID {
		s.Errorf("active: %+v", active)
	}
	s.end(l, nil)
	if j := s.has(want.ID, job.Completed); j.FinishedAt == nil || j.ImageID != want.ImageID {
		s.Errorf("ended: %+v", j)
	}
	if _, ok := s.q.Ticket(want.ID); ok || len(s.q.Active()) != 0 {
		s.Error("it is active after its end")
	}
}

func (s *suite) failAndRetry() {
	t := s.put(s.upload())
	t.Announce()
	s.end(s.lease(jobs.Render), fault.New(fault.CorruptImage, "The image is damaged."))
	j := s.has(t.Job().ID, job.Failed)
	if j.Error == nil || j.Error.Code != fault.CorruptImage {
		s.Errorf("it failed with %+v", j.Error)
	}
	s.check(j.Retry())
	s.put(j)
	s.has(j.ID, job.Pending)
	l := s.lease(jobs.Render)
	if got := l.Job(); got.ID != j.ID || got.Attempts != 2 || got.Retries != 1 {
		s.Errorf("retried: %+v", got)
	}
	s.end(l, nil)
	s.has(j.ID, job.Completed)
}

func (s *suite) returned() {
	id := s.put(s.upload()).Job().ID
	s.check(s.lease(jobs.Render).Return())
	s.has(id, job.Pending)
	l := s.lease(jobs.Render)
	if j := l.Job(); j.ID != id || j.Attempts != 2 {
		s.Errorf("leased again: %+v", j)
	}
	s.end(l, nil)
}

func (s *suite) wait() {
	t := s.put(s.upload())
	over, cancel := context.WithCancel(s.Context())
	cancel()
	if j := t.Wait(over); j.Status != job.Pending {
		s.Errorf("after the wait it is %s", j.Status)
	}
	l := s.lease(jobs.Render)
	done := make(chan job.Job)
	go func() { done <- t.Wait(s.Context()) }()
	s.end(l, nil)
	if j := <-done; j.Status != job.Completed {
		s.Errorf("a waiter is notified that it is %s", j.Status)
	}
}

func (s *suite) full() {
	var places []jobs.Place
	reserve := func(upload bool, n int) {
		s.Helper()
		for range n {
			place, err := s.q.Reserve(upload)
			s.check(err)
			places = append(places, place)
		}
	}
	reserve(false, Places*3/4)
	if _, err := s.q.Reserve(false); fault.CodeOf(err) != fault.QueueFull {
		s.Errorf("a job that leaves no place for uploads: %v", err)
	}
	reserve(true, Places/4)
	if _, err := s.q.Reserve(true); fault.CodeOf(err) != fault.QueueFull {
		s.Errorf("an upload for a full queue: %v", err)
	}
	for range 2 {
		places[0].Release() // again is nothing
	}
	reserve(true, 1)
	if _, err := s.q.Reserve(true); fault.CodeOf(err) != fault.QueueFull {
		s.Errorf("a place was released once: %v", err)
	}
}

func (s *suite) resolve() {
	t := s.put(s.byURL(ladder.DefaultConfig().Recipe()))
	l := s.lease(jobs.Resolve)
	if l.Job().ID != t.Job().ID || !l.Announced() {
		s.Errorf("leased: %+v", l.Job())
	}
	source, image := job.Source{SHA256: strings.Repeat("cd", 32), Bytes: 5}, strings.Repeat("z", 26)
	s.check(l.SetSource(source, image))
	s.check(l.Advance())
	l = s.lease(jobs.Render)
	if j := l.Job(); j.ID != t.Job().ID || j.Source != source || j.ImageID != image || j.Attempts != 1 {
		s.Errorf("to be rendered: %+v", j)
	}
	s.end(l, nil)
	if j := s.has(t.Job().ID, job.Completed); j.ImageID != image {
		s.Errorf("ended: %+v", j)
	}
}

func (s *suite) hold() {
	place, err := s.q.Reserve(true)
	s.check(err)
	t := place.Hold(s.upload())
	if t.Recorded() {
		s.Error("it is recorded although no client relies on it")
	}
	l := s.lease(jobs.Render)
	s.check(t.Record())
	t.Announce()
	if !t.Recorded() {
		s.Error("it is not recorded")
	}
	s.end(l, nil)
	s.has(t.Job().ID, job.Completed)

	place, err = s.q.Reserve(true)
	s.check(err)
	t = place.Hold(s.upload())
	s.end(s.lease(jobs.Render), nil)
	if _, err := s.q.Get(t.Job().ID); fault.CodeOf(err) != fault.NotFound {
		s.Errorf("a job that no client knows: %v", err)
	}
}

func (s *suite) webhooks() {
	t := s.put(s.upload())
	const most = 16
	for i := range most {
		for _, base := range []string{"http://10.0.0.1:8080", "https://img.example.com"} { // the second time it is there
			if ok, err := t.AddWebhook(job.Webhook{URL: fmt.Sprintf("https://a.example/%d", i), Base: base}); !ok || err != nil {
				s.Fatalf("webhook %d: %v, %v", i+1, ok, err)
			}
		}
	}
	if ok, err := t.AddWebhook(job.Webhook{URL: "https://b.example"}); !ok || fault.CodeOf(err) != fault.QueueFull {
		s.Errorf("one too many: %v, %v", ok, err)
	}
	s.end(s.lease(jobs.Render), nil)
	if ok, err := t.AddWebhook(job.Webhook{URL: "https://b.example"}); ok || err != nil {
		s.Errorf("after the end: %v, %v", ok, err)
	}
	if j := s.has(t.Job().ID, job.Completed); len(j.Webhooks) != most {
		s.Errorf("%d webhooks, want %d", len(j.Webhooks), most)
	}
}

func (s *suite) list() {
	var want []string
	for i := range 3 {
		t := s.put(s.upload())
		t.Announce()
		if i < 2 {
			s.end(s.lease(jobs.Render), nil)
		}
		want = append(want, t.Job().ID)
	}
	slices.Reverse(want)
	var got []string
	for before, more := "", true; more; {
		page, m, err := s.q.List("", before, 2)
		s.check(err)
		for _, j := range page {
			got = append(got, j.ID)
		}
		if more = m; more {
			before = got[len(got)-1]
		}
	}
	if !slices.Equal(got, want) {
		s.Errorf("listed %v, want %v", got, want)
	}
	if page, more, err := s.q.List(job.Completed, "", 9); len(page) != 2 || more || err != nil {
		s.Errorf("completed: %v, %v, %v", page, more, err)
	}
}

func (s *suite) take() {
	running := s.put(s.upload()).Job().ID
	l := s.lease(jobs.Render)
	t := s.put(s.upload())
	t.Announce()
	taken, err := s.q.Take(t.Job().ID)
	s.check(err)
	if _, err := s.q.Take(t.Job().ID); fault.CodeOf(err) != fault.Conflict {
		s.Errorf("a job that is already taken: %v", err)
	}
	s.end(taken, fault.New(fault.Canceled, "The job was canceled."))
	if j := s.has(t.Job().ID, job.Failed); j.Error.Code != fault.Canceled {
		s.Errorf("canceled: %+v", j.Error)
	}
	if _, err := s.q.Take(running); fault.CodeOf(err) != fault.Conflict {
		s.Errorf("a job that has started: %v", err)
	}
	s.end(l, nil)
	if _, err := s.q.Take("job_" + strings.Repeat("0", 26)); fault.CodeOf(err) != fault.NotFound {
		s.Errorf("an unknown job: %v", err)
	}
}

func (s *suite) lanes() {
	for range Places/2 - 1 {
		s.put(s.byURL(ladder.DefaultConfig().Recipe()))
	}
	recipe := ladder.DefaultConfig().Recipe()
	recipe.Widths, recipe.Fit = nil, &ladder.Box{Width: 20, Height: 20}
	single := s.put(s.byURL(recipe)).Job().ID
	first, second := s.lease(jobs.Resolve), s.lease(jobs.Resolve)
	if first.Job().ID != single && second.Job().ID != single {
		s.Error("two ladders came before the single variant")
	}
	for _, l := range []jobs.Lease{first, second} {
		s.end(l, fault.New(fault.CorruptImage, "The image is damaged."))
	}
}

func (s *suite) unknown() {
	for _, id := range []string{"job_" + strings.Repeat("0", 26), "job_*", "", "../../etc/passwd"} {
		if _, err := s.q.Get(id); fault.CodeOf(err) != fault.NotFound {
			s.Errorf("get %q: %v", id, err)
		}
		if _, ok := s.q.Ticket(id); ok {
			s.Errorf("there is a ticket for %q", id)
		}
	}
}

func (s *suite) closed() {
	id := s.put(s.upload()).Job().ID
	s.q.Close()
	for phase := range jobs.Phase(jobs.NumPhases) {
		if _, err := s.q.Lease(s.Context(), phase); !errors.Is(err, jobs.ErrQueueClosed) {
			s.Errorf("a lease of phase %d: %v", phase, err)
		}
	}
	if _, err := s.q.Reserve(true); fault.CodeOf(err) != fault.ShuttingDown {
		s.Errorf("a place: %v", err)
	}
	s.has(id, job.Pending)
}
