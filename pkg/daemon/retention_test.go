package daemon_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

func TestRetentionMakesRoomBeforeAnUploadIsRefused(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := daemontest.Start(t, d.use, bulky, func(c *config.Config) { c.Storage.MinFree, c.Retention.MaxBytes = 1<<20, 3<<20 })
	first := s.Upload(daemontest.BimgImage(t, "test.jpg")).Manifest(t, http.StatusCreated)
	last := s.Upload(daemontest.SmallJPEG(t, 7)).Manifest(t, http.StatusCreated)
	d.fill(100 << 10) // less than is reserved, until the first set is gone
	s.Upload(daemontest.SmallJPEG(t, 8)).Manifest(t, http.StatusCreated)
	s.Get("/v1/images/"+first.ID).CheckProblem(t, "not_found")
	s.Get("/v1/images/"+last.ID).Manifest(t, http.StatusOK)
	if n := s.Logged("image deleted by retention"); n != 1 {
		t.Errorf("%d deletions are logged, want 1", n)
	}
}

func TestRetentionMakesRoomForWhatIsMadeOrFetched(t *testing.T) {
	t.Parallel()
	const reserved = 1 << 20
	photo := daemontest.BimgImage(t, "test.jpg")
	large := slices.Concat(photo, make([]byte, 300<<10)) // zeros after the end of a JPEG are ignored
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(large)))
		_, _ = w.Write(large)
	}))
	t.Cleanup(origin.Close)
	for name, work := range map[string]func(s *daemontest.Server){
		"an upload whose client waits": func(s *daemontest.Server) {
			s.Upload(append(slices.Clone(photo), 0)).Manifest(s.T, http.StatusCreated)
		},
		"an upload whose client polls": func(s *daemontest.Server) {
			if j := s.AwaitJob(s.Submit(append(slices.Clone(photo), 0)).ID); j.Status != "completed" {
				s.T.Errorf("%+v", j)
			}
		},
		"an image by URL": func(s *daemontest.Server) {
			var j variantJob
			create(s, &j, `{"input": "`+origin.URL+`", "options": {"width": 20, "format": "jpeg"}}`)
			if j := endOf(s, j.ID); j.Status != "completed" {
				s.T.Errorf("%+v", j)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			s := daemontest.Start(t, d.use, bulky, func(c *config.Config) {
				c.Storage.MinFree, c.Retention.MaxBytes, c.Fetch.AllowPrivate = reserved, 2<<20, true
			})
			first := s.Upload(photo).Manifest(t, http.StatusCreated)
			s.Upload(daemontest.SmallJPEG(t, 7)).Manifest(t, http.StatusCreated) // the newest is never deleted
			d.fill(reserved + 200<<10)                                           // more than is reserved, and less than the image needs besides
			work(s)
			s.Get("/v1/images/"+first.ID).CheckProblem(t, "not_found")
		})
	}
}

func TestImplausibleClockDeletesNothing(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	old := s.Upload(daemontest.SmallJPEG(t, 9)).Manifest(t, http.StatusCreated)
	future := s.Upload(daemontest.SmallJPEG(t, 10)).Manifest(t, http.StatusCreated)
	failed := failedUpload(s)
	s.Stop()
	longAgo := time.Now().Add(-2 * s.Config.Jobs.Keep)
	record := s.Path("queue", "failed", failed.ID+".json")
	if err := os.Chtimes(record, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	path := s.Path("files", future.ID, "manifest.json") // as if the clock had been right then and were wrong now
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte(future.CreatedAt.String()), []byte("2050-01-01T00:00:00.000Z"), 1)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Config.Retention.MaxAge = time.Nanosecond
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	daemontest.Eventually(t, "retention has run", func() bool {
		return s.Logged("nothing is deleted by age: the clock is implausible")+s.Logged("image deleted by retention") > 0
	})
	for _, m := range []string{old.ID, future.ID} {
		s.Get("/v1/images/"+m).Manifest(t, http.StatusOK)
	}
	if j := retry(s, failed.ID); j.Attempts != 2 {
		t.Errorf("the failed upload is retried as %+v", j)
	}
	if err := os.Chtimes(record, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}

	// When the clock is right, both go.
	s.Stop()
	if err := os.RemoveAll(s.Path("files", future.ID)); err != nil {
		t.Fatal(err)
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	daemontest.Eventually(t, "the record of the failed upload is deleted", func() bool { return len(s.Names("queue/failed")) == 0 })
	daemontest.Eventually(t, "its source is deleted", func() bool { return len(s.Names("retry")) == 0 })
}

func TestEndedJobIsGoneAfterItsTime(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	failed := failedUpload(s)
	s.Stop()
	record := s.Path("queue", "failed", failed.ID+".json")
	longAgo := failed.FinishedAt.Add(-s.Config.Jobs.Keep - time.Minute).UTC().Format("2006-01-02T15:04:05.000Z")
	b := bytes.Replace(daemontest.ReadFile(t, record), []byte(failed.FinishedAt.UTC().Format("2006-01-02T15:04:05.000Z")), []byte(longAgo), 1)
	if err := os.WriteFile(record, b, 0o600); err != nil { // as if housekeeping were still to come
		t.Fatal(err)
	}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	path := "/jobs/" + failed.ID
	s.Get(path).CheckProblem(t, "not_found")
	s.Request(http.MethodDelete, path, nil).CheckProblem(t, "not_found")
	s.Request(http.MethodPost, path+"/retry", nil).CheckProblem(t, "not_found")
	var page struct {
		Items []daemontest.Job
		Next  *string
	}
	s.Get("/jobs").Decode(t, &page, http.StatusOK)
	if len(page.Items) != 0 {
		t.Errorf("it is listed: %+v", page.Items)
	}
	if _, err := os.Stat(record); err != nil {
		t.Errorf("the test shows nothing: %v", err)
	}
}
