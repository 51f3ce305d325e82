package job_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

var now = time.Date(2026, 11, 21, 20, 46, 0, 0, time.UTC)

func newJob() job.Job {
	return job.New(job.Job{
		Source: job.Source{SHA256: "ab", Filename: "cat.jpg", Bytes: 3},
		Recipe: ladder.DefaultConfig().Recipe(), ImageID: "k3v5",
	}, now)
}

// steps are tried from every state; allowed lists those that must succeed.
var steps = map[string]func(*job.Job) error{
	"Start":    func(j *job.Job) error { return j.Start(now) },
	"Return":   func(j *job.Job) error { return j.Return() },
	"Complete": func(j *job.Job) error { return j.Complete(now) },
	"Fail":     func(j *job.Job) error { return j.Fail(fault.New(fault.CorruptImage, "Damaged."), now) },
}

func TestStepsThatAreNotDrawnAreRefused(t *testing.T) {
	allowed := map[job.Status]map[string]job.Status{
		job.Pending:    {"Start": job.Processing},
		job.Processing: {"Return": job.Pending, "Complete": job.Completed, "Fail": job.Failed},
		job.Completed:  {},
		job.Failed:     {},
	}
	for from, ways := range allowed {
		for name, step := range steps {
			j := newJob()
			j.Status = from
			err := step(&j)
			to, ok := ways[name]
			switch {
			case ok && (err != nil || j.Status != to):
				t.Errorf("%s from %s: status %s, error %v; want %s", name, from, j.Status, err, to)
			case !ok && (err == nil || j.Status != from):
				t.Errorf("%s from %s is allowed", name, from)
			}
		}
	}
}

func TestFailedJobSaysWhyAndWhen(t *testing.T) {
	j := newJob()
	if err := j.Start(now); err != nil {
		t.Fatal(err)
	}
	if err := j.Fail(fault.New(fault.CorruptImage, "The picture is damaged."), now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	want := job.Error{Code: fault.CorruptImage, Message: "The picture is damaged."}
	if *j.Error != want || j.Attempts != 1 || !j.FinishedAt.Equal(now.Add(time.Second)) {
		t.Errorf("got %+v, attempts %d, finished %v", *j.Error, j.Attempts, j.FinishedAt)
	}
}

func TestIDsAreValidAndSortByTime(t *testing.T) {
	early := newJob()
	late := job.New(job.Job{}, now.Add(time.Millisecond))
	if !job.ValidID(early.ID) || early.ID >= late.ID {
		t.Errorf("ids %s and %s", early.ID, late.ID)
	}
	for _, bad := range []string{"", "job_", "job_../../etc/passwd0000000000", early.ID + "x", early.ID[4:]} {
		if job.ValidID(bad) {
			t.Errorf("%q is taken for an id", bad)
		}
	}
}

func TestRecordsSurviveTheDisk(t *testing.T) {
	want := newJob()
	if err := want.Start(now); err != nil {
		t.Fatal(err)
	}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := job.Decode(b)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(job.Quality{})); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "{}", `{"id":"../x"}`, `{"id":"` + want.ID + `","surprise":1}`, `{"id":"` + want.ID + `"}`, string(b) + "{}"} {
		if _, err := job.Decode([]byte(bad)); err == nil {
			t.Errorf("%s is taken for a record", bad)
		}
	}
}
