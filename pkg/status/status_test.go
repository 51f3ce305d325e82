package status_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/status"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

func TestRecentCountsMinutesAndTheDay(t *testing.T) {
	now := time.Date(2026, 11, 21, 22, 30, 10, 0, time.Local)
	r := status.NewRecent()
	r.Now = func() time.Time { return now }
	end := func(name string, took time.Duration, failure *job.Error) {
		at := strictjson.At(now)
		r.Ended(job.Job{ID: "job_" + name, Source: job.Source{Filename: name, Bytes: 10}, CreatedAt: strictjson.At(now.Add(-took)), FinishedAt: &at, Error: failure})
	}
	for i := range 60 {
		end(fmt.Sprint(i), time.Duration(i)*time.Second, nil)
	}
	now = now.Add(3 * time.Minute)
	end("bad", time.Second, &job.Error{Code: fault.CorruptImage, Message: "Damaged."})
	r.Error(now, "cannot")
	var got status.Report
	r.Fill(&got)
	if got.Today != (status.Count{Completed: 60, Failed: 1, BytesIn: 600}) {
		t.Errorf("today: %+v", got.Today)
	}
	if len(got.Jobs) != 50 || got.Jobs[0].Code != fault.CorruptImage || got.Jobs[1].Filename != "59" {
		t.Errorf("%d jobs, the first are %+v", len(got.Jobs), got.Jobs[:2])
	}
	minute := func(n int) strictjson.Time {
		return strictjson.At(time.Date(2026, 11, 21, 22, 30+n, 0, 0, time.Local))
	}
	minutes := []status.Minute{
		{At: minute(0), Completed: 60, Median: 30, Longest: 59},
		{At: minute(1)},
		{At: minute(2)},
		{At: minute(3), Failed: 1, Median: 1, Longest: 1},
	}
	if diff := cmp.Diff(minutes, got.Minutes); diff != "" {
		t.Errorf("minutes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]status.Error{{At: strictjson.At(now), Message: "cannot"}}, got.Errors); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	now = now.Add(2 * time.Hour) // the next day, and a quiet hour
	got = status.Report{}
	r.Fill(&got)
	if got.Today != (status.Count{}) || len(got.Minutes) != 1 || len(got.Jobs) != 50 {
		t.Errorf("the next day: %+v, %d minutes, %d jobs", got.Today, len(got.Minutes), len(got.Jobs))
	}
}
