package daemon_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

// failedUpload uploads a damaged image and returns its job, which has failed.
func failedUpload(s *daemontest.Server) daemontest.Job {
	s.T.Helper()
	j := s.AwaitJob(s.Submit(damaged(s.T)).ID)
	if j.Status != "failed" || j.Error.Code != "corrupt_image" {
		s.T.Fatalf("a damaged upload: %+v", j)
	}
	return j
}

// retry queues a failed job again, and returns it when it has ended.
func retry(s *daemontest.Server, id string) daemontest.Job {
	s.T.Helper()
	a := s.Request(http.MethodPost, "/jobs/"+id+"/retry", nil)
	if j := a.Job(s.T, http.StatusAccepted); j.ID != id || a.Header.Get("Location") != "/jobs/"+id || j.Error != nil {
		s.T.Errorf("retried: %s, Location %q", a.Body, a.Header.Get("Location"))
	}
	return s.AwaitJob(id)
}

func TestFailedUploadIsRetriedAsOftenAsItFails(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Config){
		"on disk":   func(*config.Config) {},
		"in memory": func(c *config.Config) { c.Storage.UploadMemory = 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := daemontest.Start(t, change)
			id := failedUpload(s).ID
			for attempt := 2; attempt <= 3; attempt++ {
				if j := retry(s, id); j.Status != "failed" || j.Error.Code != "corrupt_image" || j.Attempts != attempt {
					t.Errorf("attempt %d ends as %+v", attempt, j)
				}
			}
			s.Stop()
			s = daemontest.Start(t, s.SameDir, change)
			if j := retry(s, id); j.Status != "failed" || j.Attempts != 4 {
				t.Errorf("after a restart: %+v", j)
			}
			if got := s.Names("retry"); !slices.Equal(got, []string{id}) {
				t.Errorf("kept are %v, want the source of %s", got, id)
			}
			s.CheckEmpty("spool")
		})
	}
}

func TestCanceledUploadIsCompletedByARetry(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	s.Submit(daemontest.SmallJPEG(t, 1))
	s.AwaitJobs(1, 0)
	id := s.Submit(daemontest.SmallJPEG(t, 2)).ID
	if a := s.Request(http.MethodDelete, "/jobs/"+id, nil); a.StatusCode != http.StatusNoContent {
		t.Fatalf("canceled: %s %s", a.Status, a.Body)
	}
	thaw()
	j := retry(s, id)
	if j.Status != "completed" || j.Output == nil {
		t.Fatalf("retried: %+v, want it completed", j)
	}
	s.CheckDir(j.Output.Manifest)
	s.CheckEmpty("retry")
	s.CheckEmpty("spool")
	s.Request(http.MethodPost, "/jobs/"+id+"/retry", nil).CheckProblem(t, "conflict")
}

func TestFailedUploadIsKeptWithinBounds(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Jobs.KeepBytes = 1000 }) // one of 700 bytes
	older := failedUpload(s).ID
	other := s.AwaitJob(s.Submit(daemontest.SmallJPEG(t, 71)[:690]).ID).ID
	if got := s.Names("retry"); !slices.Equal(got, []string{other}) {
		t.Errorf("kept are %v, want only the source of the newest, %s", got, other)
	}
	a := s.Request(http.MethodPost, "/jobs/"+older+"/retry", nil)
	if a.CheckProblem(t, "conflict"); !strings.Contains(string(a.Body), "upload it again") {
		t.Errorf("the retry of what is not kept: %s", a.Body)
	}

	none := daemontest.Start(t, func(c *config.Config) { c.Jobs.KeepBytes = 0 })
	none.Request(http.MethodPost, "/jobs/"+failedUpload(none).ID+"/retry", nil).CheckProblem(t, "conflict")
}

func TestFailedUploadWhoseClientWaitsLeavesNothing(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	s.Upload(damaged(t)).CheckProblem(t, "corrupt_image")
	s.CheckEmpty("spool")
	s.CheckEmpty("retry")
}
