package queue_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

func TestJobsAreListedNewestFirstInPages(t *testing.T) {
	q := open(t, t.TempDir())
	defer crash(t, q)
	var want []string
	for i, cause := range []error{nil, fault.New(fault.CorruptImage, "bad"), nil} {
		ticket := put(t, q, string(rune('a'+i)))
		ticket.Announce()
		if err := end(lease(t, q), cause); err != nil {
			t.Fatal(err)
		}
		want = append(want, ticket.Job().ID)
	}
	want = append(want, put(t, q, "d").Job().ID)
	slices.Sort(want)
	slices.Reverse(want)
	var got []string
	before := ""
	for more := true; more; {
		var page []job.Job
		var err error
		if page, more, err = q.List("", before, 2); err != nil || len(page) == 0 {
			t.Fatalf("page after %q: %v, %v", before, page, err)
		}
		for _, j := range page {
			got = append(got, j.ID)
		}
		before = got[len(got)-1]
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for status, n := range map[job.Status]int{job.Pending: 1, job.Processing: 0, job.Completed: 2, job.Failed: 1} {
		if page, more, err := q.List(status, "", 10); len(page) != n || more || err != nil {
			t.Errorf("%s: %d jobs, %v, %v; want %d", status, len(page), more, err, n)
		}
	}
}

func TestRetriedJobIsFailedOrPendingAfterAPowerCut(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	ticket := put(t, q, "a")
	ticket.Announce()
	if err := end(lease(t, q), fault.New(fault.CorruptImage, "bad")); err != nil {
		t.Fatal(err)
	}
	failed := ticket.Job()
	record, err := os.ReadFile(filepath.Join(dir, "failed", failed.ID+".json"))
	if err != nil {
		t.Fatal(err)
	}
	again := failed
	if err := again.Retry(); err != nil {
		t.Fatal(err)
	}
	place, err := q.Reserve(false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := place.Put(again); err != nil {
		t.Fatal(err)
	}
	if got := records(t, dir); len(got) != 1 {
		t.Errorf("records %v, want the pending one", got)
	}
	crash(t, q)
	q = open(t, dir)
	if j, err := q.Get(failed.ID); err != nil || j.Status != job.Pending || j.Retries != 1 || j.Error != nil {
		t.Errorf("after a restart: %+v, %v", j, err)
	}
	crash(t, q)
	// The power was cut before the failed record was deleted.
	if err := os.WriteFile(filepath.Join(dir, "failed", failed.ID+".json"), record, 0o600); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir)
	defer crash(t, q)
	if j, err := q.Get(failed.ID); err != nil || j.Status != job.Failed {
		t.Errorf("after a power cut: %+v, %v", j, err)
	}
}

func TestTakeTakesOnlyAWaitingJob(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	defer func() { crash(t, q) }()
	first, second := put(t, q, "a"), put(t, q, "b")
	running := lease(t, q)
	if _, err := q.Take(first.Job().ID); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("a job that runs: %v, want a conflict", err)
	}
	if _, err := q.Take("job_01arz3ndektsv4rrffq69g5fav"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an unknown job: %v", err)
	}
	if _, err := q.Take(second.Job().ID); err != nil {
		t.Fatal(err)
	}
	if pending, n := q.Depth(); pending != 0 || n != 2 {
		t.Errorf("%d pending, %d running; want 0 and 2", pending, n)
	}
	if running.Job().ID != first.Job().ID { // its lease is lost with the process
		t.Errorf("%s runs, want the first", running.Job().ID)
	}
	crash(t, q)
	q = open(t, dir)
	if j, err := q.Get(second.Job().ID); err != nil || j.Status != job.Pending {
		t.Errorf("after a power cut: %+v, %v", j, err)
	}
	taken, err := q.Take(second.Job().ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := end(taken, fault.New(fault.Canceled, "canceled")); err != nil {
		t.Fatal(err)
	}
	if j, err := q.Get(second.Job().ID); err != nil || j.Status != job.Failed || j.Error.Code != fault.Canceled || j.StartedAt != nil {
		t.Errorf("canceled: %+v, %v", j, err)
	}
}

func TestJobThatIsBeingCanceledTakesNoWebhook(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	ticket := put(t, q, "a")
	taken, err := q.Take(ticket.Job().ID)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := ticket.AddWebhook(job.Webhook{URL: "https://example.com"}); ok || err != nil {
		t.Errorf("added: %v, %v; its sender must submit another job", ok, err)
	}
	if err := end(taken, fault.New(fault.Canceled, "canceled")); err != nil {
		t.Fatal(err)
	}
	crash(t, q)
	if left, err := os.ReadDir(filepath.Join(dir, "pending")); err != nil || len(left) > 0 {
		t.Errorf("pending/ still has the job: %v, %v", left, err)
	}
}
