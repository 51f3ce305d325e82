package daemon_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

func TestAsyncUploadIsAJobUntilItIsASet(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	source := daemontest.BimgImage(t, "test.webp")
	digest := sha256.Sum256(source)
	first := s.Submit(source)
	s.AwaitJobs(1, 0)
	waiting := s.Submit(daemontest.SmallJPEG(t, 8))
	checkUnfinished(s, first.ID, "processing")
	checkUnfinished(s, waiting.ID, "pending")
	if again := s.Submit(source); again.ID != first.ID {
		t.Errorf("the same upload again is job %s, want %s", again.ID, first.ID)
	}
	thaw()
	j := s.AwaitJob(first.ID)
	if j.Status != "completed" || j.Error != nil || j.Output == nil || j.Attempts != 1 || j.Input != "upload:"+hex.EncodeToString(digest[:]) {
		t.Fatalf("got %+v, want it completed at the first attempt, of upload:%x", j, digest)
	}
	if j.StartedAt.Before(j.CreatedAt) || j.FinishedAt.Before(*j.StartedAt) {
		t.Errorf("times out of order: %v, %v, %v", j.CreatedAt, j.StartedAt, j.FinishedAt)
	}
	if j := s.AwaitJob(waiting.ID); j.Status != "completed" {
		t.Errorf("the job that waited is %s, want completed", j.Status)
	}
	s.CheckManifest(j.Output.Manifest, daemontest.Expected{Source: source, Format: "webp", Width: 550, Height: 368, Frames: 1})
	if want := s.URL + "/files/" + j.Output.Manifest.ID + "/manifest.json"; j.Output.URL != want {
		t.Errorf("output.url is %s, want %s", j.Output.URL, want)
	}
	if got := s.Get(j.Output.URL).Manifest(t, http.StatusOK); got.ID != j.Output.Manifest.ID {
		t.Errorf("output.url gives the manifest of %s, want %s", got.ID, j.Output.Manifest.ID)
	}
}

// checkUnfinished checks that a job has a status before its end.
func checkUnfinished(s *daemontest.Server, id, status string) {
	s.T.Helper()
	j := s.Get("/jobs/"+id).Job(s.T, http.StatusOK)
	if j.Status != status || j.Output != nil || j.Error != nil || (j.StartedAt != nil) != (status == "processing") {
		s.T.Errorf("got %+v, want a %s job without output or error", j, status)
	}
}

func TestUploadWaitsAsLongAsItsClientLikes(t *testing.T) {
	t.Parallel()
	source := daemontest.SmallJPEG(t, 9)
	t.Run("and not longer", func(t *testing.T) {
		s := daemontest.Start(t, daemontest.OneCodec, func(c *config.Config) { c.HTTP.SyncWait = time.Second })
		s.Freeze()
		for _, tc := range []struct{ prefer, applied string }{
			{"respond-async", "respond-async"},
			{"wait=0", "wait=0"},
			{"wait=1", "wait=1"},
			{"respond-async, wait=1", "wait=1"},
			{"wait=3600", "wait=1"}, // as long as the server waits at most
			{"", ""},
			{"wait=-1", ""},
			{"junk;;=", ""},
		} {
			a := s.Upload(source, daemontest.Header("Prefer", tc.prefer))
			j := a.Job(t, http.StatusAccepted)
			if got := a.Header.Get("Preference-Applied"); got != tc.applied {
				t.Errorf("Prefer: %s: Preference-Applied is %q, want %q", tc.prefer, got, tc.applied)
			}
			if got, want := a.Header.Get("Location"), "/jobs/"+j.ID; got != want {
				t.Errorf("Prefer: %s: Location is %q, want %q", tc.prefer, got, want)
			}
		}
	})
	t.Run("until the work is done", func(t *testing.T) {
		s := daemontest.Start(t, daemontest.OneCodec)
		_, thaw := s.Freeze()
		prefers := []string{"", "wait=300", "wait=-1", "junk;;="}
		var uploads sync.WaitGroup
		for i, prefer := range prefers {
			source := daemontest.SmallJPEG(t, uint64(500+i))
			uploads.Go(func() {
				a, err := s.TryUpload(source, daemontest.Header("Prefer", prefer))
				if err != nil || a.StatusCode != http.StatusCreated {
					t.Errorf("Prefer: %s: got %v %s %v, want 201", prefer, a.Response, a.Body, err)
				}
			})
		}
		s.AwaitJobs(1, len(prefers)-1)
		thaw()
		uploads.Wait()
	})
}

func TestLongPollEndsWithTheJob(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	j := s.Submit(daemontest.SmallJPEG(t, 11))
	polled := make(chan daemontest.Answer)
	go func() {
		a, err := s.Try(http.MethodGet, "/jobs/"+j.ID, nil, daemontest.Header("Prefer", "wait=300"))
		if err != nil {
			t.Errorf("long poll: %v", err)
		}
		polled <- a
	}()
	short := s.Get("/jobs/"+j.ID, daemontest.Header("Prefer", "wait=1")) // while the long one holds on
	if got := short.Job(t, http.StatusOK); got.FinishedAt != nil {
		t.Fatalf("the job has ended as %s while its codec process is stopped", got.Status)
	}
	if got := short.Header.Get("Preference-Applied"); got != "wait=1" {
		t.Errorf("Preference-Applied is %q, want wait=1", got)
	}
	thaw()
	if got := (<-polled).Job(t, http.StatusOK); got.Status != "completed" {
		t.Errorf("the long poll gives a %s job, want completed", got.Status)
	}
}

func TestLongPollWaitsUntilTheEndIsRecorded(t *testing.T) {
	t.Parallel()
	s := daemontest.Prepare(t)
	ids, answers := make(chan string, 1), make(chan daemontest.Answer, 1)
	s.Hooks = map[string]func(){"source kept for a retry": func() { // after the end, and before it is recorded
		a, err := s.Try(http.MethodGet, "/jobs/"+<-ids, nil, daemontest.Header("Prefer", "wait=1"))
		if err != nil {
			t.Errorf("long poll: %v", err)
		}
		answers <- a
	}}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	ids <- s.Submit(damaged(t)).ID
	if a := <-answers; a.Header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("it does not wait: %s", a.Body)
	}
}

func TestFailedJobSaysWhy(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	b := daemontest.BimgImage(t, "test.jpg")
	j := s.Submit(b[:len(b)/2])
	thaw()
	j = s.AwaitJob(j.ID)
	if j.Status != "failed" || j.Output != nil || j.Error == nil || j.Error.Code != "corrupt_image" || j.Error.Message == "" {
		t.Fatalf("got %+v, want it failed with corrupt_image and a message", j)
	}
	s.CheckEmpty("spool")
	if again := submitAgain(s, b[:len(b)/2]); again == j.ID {
		t.Errorf("the same upload after a failure is the old job %s, want a new try", again)
	}
}

// submitAgain uploads and returns the job's id, or "" for another answer.
func submitAgain(s *daemontest.Server, picture []byte) string {
	s.T.Helper()
	var j struct{ ID string }
	if err := json.Unmarshal(s.Upload(picture).Body, &j); err != nil {
		s.T.Fatal(err)
	}
	return j.ID
}

func TestJobsThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	for _, id := range []string{"job_01arz3ndektsv4rrffq69g5fav", "job_", "x", "..%2f..%2fetc%2fpasswd", "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"} {
		s.Get("/jobs/"+id).CheckProblem(t, "not_found")
		s.Get("/jobs/"+id, daemontest.Header("Prefer", "wait=5")).CheckProblem(t, "not_found")
	}
}

func TestCompletedJobWhoseSetWasDeletedHasNoOutput(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	_, thaw := s.Freeze()
	j := s.Submit(daemontest.SmallJPEG(t, 12))
	thaw()
	j = s.AwaitJob(j.ID)
	s.Request(http.MethodDelete, "/v1/images/"+j.Output.Manifest.ID, nil)
	if j = s.Get("/jobs/"+j.ID).Job(t, http.StatusOK); j.Status != "completed" || j.Output != nil {
		t.Errorf("got %+v, want it completed without output", j)
	}
}

// listing is a page of the listing of images.
type listing struct {
	Items []manifest.Manifest
	Next  *string
}

func (p listing) ids() (ids []string) {
	for _, m := range p.Items {
		ids = append(ids, m.ID)
	}
	return ids
}

// listAll reads the listing page by page, and checks each page.
func listAll(s *daemontest.Server, limit int) (ids []string, pages int) {
	s.T.Helper()
	cursor := ""
	for {
		pages++
		var p listing
		s.Get(fmt.Sprintf("/v1/images?limit=%d&cursor=%s", limit, url.QueryEscape(cursor))).Decode(s.T, &p, http.StatusOK)
		if len(p.Items) > limit || (p.Next != nil && len(p.Items) < limit) {
			s.T.Errorf("limit %d: page %d has %d items, next %v", limit, pages, len(p.Items), p.Next)
		}
		for _, m := range p.Items {
			if m.Variants[0].URL != s.URL+"/files/"+m.Variants[0].Key {
				s.T.Errorf("url in a listing is %s", m.Variants[0].URL)
			}
		}
		ids = append(ids, p.ids()...)
		if p.Next == nil {
			return ids, pages
		}
		cursor = *p.Next
	}
}

func TestListingHasEverySetOnceNewestFirst(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	var want []string
	for i := range 7 {
		want = append(want, s.Upload(daemontest.SmallJPEG(t, uint64(400+i))).Manifest(t, http.StatusCreated).ID)
	}
	slices.Reverse(want)
	for limit, wantPages := range map[int]int{1: 7, 2: 4, 3: 3, 7: 1, 100: 1} {
		got, pages := listAll(s, limit)
		if !slices.Equal(got, want) || pages != wantPages {
			t.Errorf("limit %d: got %v on %d pages, want %v on %d", limit, got, pages, want, wantPages)
		}
	}
	t.Run("a set that goes between two pages", func(t *testing.T) {
		var first, second listing
		s.Get("/v1/images?limit=3").Decode(t, &first, http.StatusOK)
		for _, id := range []string{want[2], want[3]} {
			s.Request(http.MethodDelete, "/v1/images/"+id, nil)
		}
		s.Get("/v1/images?limit=3&cursor="+url.QueryEscape(*first.Next)).Decode(t, &second, http.StatusOK)
		if !slices.Equal(second.ids(), want[4:7]) || second.Next != nil {
			t.Errorf("the second page is %v, next %v; want %v and none", second.ids(), second.Next, want[4:7])
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		s.Stop()
		again := daemontest.Start(t, s.SameDir)
		var p listing
		again.Get("/v1/images").Decode(t, &p, http.StatusOK)
		if left := slices.Concat(want[:2], want[4:]); !slices.Equal(p.ids(), left) {
			t.Errorf("got %v, want %v", p.ids(), left)
		}
	})
}

func TestListingRefusesBadLimitsAndCursors(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	if a := s.Get("/v1/images"); string(bytes.TrimSpace(a.Body)) != `{"items":[],"next":null}` {
		t.Errorf("an empty listing is %s", a.Body)
	}
	for _, query := range []string{
		"limit=0", "limit=101", "limit=-1", "limit=x", "limit=1.5", "limit=99999999999999999999", "cursor=x", "cursor=..%2f..", "cursor=MQ." + strings.Repeat("A", 26),
	} {
		s.Get("/v1/images?"+query).CheckProblem(t, "invalid_request")
	}
	for _, query := range []string{"limit=1", "limit=100", ""} {
		if a := s.Get("/v1/images?" + query); a.StatusCode != http.StatusOK {
			t.Errorf("?%s: got %s, want 200", query, a.Status)
		}
	}
}

func TestDeletedSetIsGoneAndCanBeMadeAgain(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := daemontest.SmallJPEG(t, 13)
	m := s.Upload(source).Manifest(t, http.StatusCreated)
	for range 2 {
		a := s.Request(http.MethodDelete, "/v1/images/"+m.ID, nil)
		if a.StatusCode != http.StatusNoContent || len(a.Body) > 0 {
			t.Fatalf("DELETE: got %s %q, want 204 without a body", a.Status, a.Body)
		}
	}
	s.Get("/v1/images/"+m.ID).CheckProblem(t, "not_found")
	s.Get("/files/"+m.Variants[0].Key).CheckProblem(t, "not_found")
	s.Get("/files/"+m.ID+"/manifest.json").CheckProblem(t, "not_found")
	s.CheckNothingLeft()
	again := s.Upload(source).Manifest(t, http.StatusCreated)
	if again.ID != m.ID || s.Logged("published") != 2 {
		t.Errorf("the second set is %s, made after %d; want %s again", again.ID, s.Logged("published"), m.ID)
	}
	s.CheckDir(again)
}

func TestDeleteOfWhatIsNoIDIsHarmless(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	m := s.Upload(daemontest.SmallJPEG(t, 14)).Manifest(t, http.StatusCreated)
	for _, id := range []string{".staging", "..%2f..%2fqueue", "x", strings.Repeat("a", 26)} {
		if a := s.Request(http.MethodDelete, "/v1/images/"+id, nil); a.StatusCode != http.StatusNoContent {
			t.Errorf("DELETE %s: got %s, want 204", id, a.Status)
		}
	}
	s.CheckDir(m)
	s.CheckServes()
}

func TestBodyIsNotPausedWhileTheClientWaitsForTheWork(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec, func(c *config.Config) { c.HTTP.BodyIdle, c.HTTP.SyncWait = 3*time.Second, 5*time.Second })
	s.Freeze()
	s.Upload(daemontest.SmallJPEG(t, 15)).Job(t, http.StatusAccepted)
}
