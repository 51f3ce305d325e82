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
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// jobAnswer is a job as the contract has it.
type jobAnswer struct {
	ID       string
	Object   string
	Kind     string
	Status   string
	Input    string
	Options  map[string]any
	Metadata map[string]any
	Output   *struct {
		Manifest manifest.Manifest
		URL      string
	}
	Error *struct {
		Code    string
		Message string
	}
	Attempts   int
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

func (a answer) job(t *testing.T, status int) jobAnswer {
	t.Helper()
	var j jobAnswer
	a.into(t, &j, status)
	if j.Object != "job" || j.Kind != "image" || j.Options == nil || j.Metadata == nil {
		t.Errorf("object %q, kind %q, options %v, metadata %v; want job, image and two objects", j.Object, j.Kind, j.Options, j.Metadata)
	}
	if ended := j.Status == "completed" || j.Status == "failed"; ended == (a.Header.Get("Retry-After") != "") || ended != (j.FinishedAt != nil) {
		t.Errorf("a %s job with Retry-After %q and finished_at %v", j.Status, a.Header.Get("Retry-After"), j.FinishedAt)
	}
	return j
}

// submit uploads with respond-async and returns the job.
func (c *client) submit(image []byte) jobAnswer {
	c.t.Helper()
	a := c.upload(image, header("Prefer", "respond-async"))
	j := a.job(c.t, http.StatusAccepted)
	if got, want := a.Header.Get("Location"), "/jobs/"+j.ID; got != want {
		c.t.Errorf("Location is %q, want %q", got, want)
	}
	return j
}

// end waits for a job by long poll, as a client does.
func (c *client) end(id string) jobAnswer {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		j := c.get("/jobs/"+id, header("Prefer", "wait=5")).job(c.t, http.StatusOK)
		if j.FinishedAt != nil {
			return j
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("job %s is still %s after %v", id, j.Status, patience)
		}
	}
}

func TestAnAsyncUploadIsAJobUntilItIsASet(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	_, thaw := s.freeze()
	source := picture(t, "test.webp")
	digest := sha256.Sum256(source)
	first := s.submit(source)
	s.working(1, 0)
	waiting := s.submit(small(t, 8))
	for _, tc := range []struct{ id, status string }{{first.ID, "processing"}, {waiting.ID, "pending"}} {
		j := s.get("/jobs/"+tc.id).job(t, http.StatusOK)
		if j.Status != tc.status || j.Output != nil || j.Error != nil || (j.StartedAt != nil) != (tc.status == "processing") {
			t.Errorf("got %+v, want a %s job without output or error", j, tc.status)
		}
	}
	if again := s.submit(source); again.ID != first.ID {
		t.Errorf("the same upload again is job %s, want %s", again.ID, first.ID)
	}
	thaw()
	j := s.end(first.ID)
	if j.Status != "completed" || j.Error != nil || j.Output == nil || j.Attempts != 1 || j.Input != "upload:"+hex.EncodeToString(digest[:]) {
		t.Fatalf("got %+v, want it completed at the first attempt, of upload:%x", j, digest)
	}
	if j.StartedAt.Before(j.CreatedAt) || j.FinishedAt.Before(*j.StartedAt) {
		t.Errorf("times out of order: %v, %v, %v", j.CreatedAt, j.StartedAt, j.FinishedAt)
	}
	if j := s.end(waiting.ID); j.Status != "completed" {
		t.Errorf("the job that waited is %s, want completed", j.Status)
	}
	s.holds(j.Output.Manifest, expected{source: source, format: "webp", width: 550, height: 368, frames: 1})
	if want := s.url + "/files/" + j.Output.Manifest.ID + "/manifest.json"; j.Output.URL != want {
		t.Errorf("output.url is %s, want %s", j.Output.URL, want)
	}
	if got := s.get(j.Output.URL).manifestOf(t, http.StatusOK); got.ID != j.Output.Manifest.ID {
		t.Errorf("output.url gives the manifest of %s, want %s", got.ID, j.Output.Manifest.ID)
	}
}

func TestAnUploadWaitsAsLongAsItsClientLikes(t *testing.T) {
	t.Parallel()
	source := small(t, 9)
	t.Run("and not longer", func(t *testing.T) {
		s := start(t, oneCodec, func(c *config.Config) { c.HTTP.SyncWait = time.Second })
		s.freeze()
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
			a := s.upload(source, header("Prefer", tc.prefer))
			j := a.job(t, http.StatusAccepted)
			if got := a.Header.Get("Preference-Applied"); got != tc.applied {
				t.Errorf("Prefer: %s: Preference-Applied is %q, want %q", tc.prefer, got, tc.applied)
			}
			if got, want := a.Header.Get("Location"), "/jobs/"+j.ID; got != want {
				t.Errorf("Prefer: %s: Location is %q, want %q", tc.prefer, got, want)
			}
		}
	})
	t.Run("until the work is done", func(t *testing.T) {
		s := start(t, oneCodec)
		_, thaw := s.freeze()
		prefers := []string{"", "wait=300", "wait=-1", "junk;;="}
		var uploads sync.WaitGroup
		for i, prefer := range prefers {
			source := small(t, uint64(500+i))
			uploads.Go(func() {
				a, err := s.send(source, header("Prefer", prefer))
				if err != nil || a.StatusCode != http.StatusCreated {
					t.Errorf("Prefer: %s: got %v %s %v, want 201", prefer, a.Response, a.body, err)
				}
			})
		}
		s.working(1, len(prefers)-1)
		thaw()
		uploads.Wait()
	})
}

func TestALongPollEndsWithTheJob(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	_, thaw := s.freeze()
	j := s.submit(small(t, 11))
	polled := make(chan answer)
	go func() {
		a, err := s.try(http.MethodGet, "/jobs/"+j.ID, nil, header("Prefer", "wait=300"))
		if err != nil {
			t.Errorf("long poll: %v", err)
		}
		polled <- a
	}()
	short := s.get("/jobs/"+j.ID, header("Prefer", "wait=1")) // while the long one holds on
	if got := short.job(t, http.StatusOK); got.FinishedAt != nil {
		t.Fatalf("the job has ended as %s while its codec process is stopped", got.Status)
	}
	if got := short.Header.Get("Preference-Applied"); got != "wait=1" {
		t.Errorf("Preference-Applied is %q, want wait=1", got)
	}
	thaw()
	if got := (<-polled).job(t, http.StatusOK); got.Status != "completed" {
		t.Errorf("the long poll gives a %s job, want completed", got.Status)
	}
}

func TestAFailedJobSaysWhy(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	_, thaw := s.freeze()
	b := picture(t, "test.jpg")
	j := s.submit(b[:len(b)/2])
	thaw()
	j = s.end(j.ID)
	if j.Status != "failed" || j.Output != nil || j.Error == nil || j.Error.Code != "corrupt_image" || j.Error.Message == "" {
		t.Fatalf("got %+v, want it failed with corrupt_image and a message", j)
	}
	s.emptied("spool")
	if again := s.submitAgain(b[:len(b)/2]); again == j.ID {
		t.Errorf("the same upload after a failure is the old job %s, want a new try", again)
	}
}

// submitAgain uploads and returns the job's id, or "" for another answer.
func (s *server) submitAgain(picture []byte) string {
	s.t.Helper()
	var j struct{ ID string }
	if err := json.Unmarshal(s.upload(picture).body, &j); err != nil {
		s.t.Fatal(err)
	}
	return j.ID
}

func TestJobsThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, id := range []string{"job_01arz3ndektsv4rrffq69g5fav", "job_", "x", "..%2f..%2fetc%2fpasswd", "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"} {
		s.get("/jobs/"+id).is(t, "not_found")
		s.get("/jobs/"+id, header("Prefer", "wait=5")).is(t, "not_found")
	}
}

func TestACompletedJobWhoseSetWasDeletedHasNoOutput(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec)
	_, thaw := s.freeze()
	j := s.submit(small(t, 12))
	thaw()
	j = s.end(j.ID)
	s.request(http.MethodDelete, "/v1/images/"+j.Output.Manifest.ID, nil)
	if j = s.get("/jobs/"+j.ID).job(t, http.StatusOK); j.Status != "completed" || j.Output != nil {
		t.Errorf("got %+v, want it completed without output", j)
	}
}

func TestTheListingHasEverySetOnceNewestFirst(t *testing.T) {
	t.Parallel()
	s := start(t)
	var want []string
	for i := range 7 {
		want = append(want, s.upload(small(t, uint64(400+i))).manifestOf(t, http.StatusCreated).ID)
	}
	slices.Reverse(want)
	type page struct {
		Items []manifest.Manifest
		Next  *string
	}
	for _, limit := range []int{1, 2, 3, 7, 100} {
		var got []string
		cursor := ""
		for pages := 1; ; pages++ {
			var p page
			s.get(fmt.Sprintf("/v1/images?limit=%d&cursor=%s", limit, url.QueryEscape(cursor))).into(t, &p, http.StatusOK)
			if len(p.Items) > limit || (p.Next != nil && len(p.Items) < limit) {
				t.Errorf("limit %d: page %d has %d items, next %v", limit, pages, len(p.Items), p.Next)
			}
			for _, m := range p.Items {
				got = append(got, m.ID)
				if m.Variants[0].URL != s.url+"/files/"+m.Variants[0].Key {
					t.Errorf("url in a listing is %s", m.Variants[0].URL)
				}
			}
			if p.Next == nil {
				if want := (7 + limit - 1) / limit; pages != want {
					t.Errorf("limit %d: %d pages, want %d", limit, pages, want)
				}
				break
			}
			cursor = *p.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: got %v, want %v", limit, got, want)
		}
	}
	t.Run("a set that goes between two pages", func(t *testing.T) {
		var first, second page
		s.get("/v1/images?limit=3").into(t, &first, http.StatusOK)
		for _, id := range []string{want[2], want[3]} {
			s.request(http.MethodDelete, "/v1/images/"+id, nil)
		}
		s.get("/v1/images?limit=3&cursor="+url.QueryEscape(*first.Next)).into(t, &second, http.StatusOK)
		var got []string
		for _, m := range second.Items {
			got = append(got, m.ID)
		}
		if !slices.Equal(got, want[4:7]) || second.Next != nil {
			t.Errorf("the second page is %v, next %v; want %v and none", got, second.Next, want[4:7])
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		s.stop()
		again := start(t, s.sameDir)
		var p page
		again.get("/v1/images").into(t, &p, http.StatusOK)
		var got []string
		for _, m := range p.Items {
			got = append(got, m.ID)
		}
		if left := slices.Concat(want[:2], want[4:]); !slices.Equal(got, left) {
			t.Errorf("got %v, want %v", got, left)
		}
	})
}

func TestTheListingRefusesBadLimitsAndCursors(t *testing.T) {
	t.Parallel()
	s := start(t)
	if a := s.get("/v1/images"); string(bytes.TrimSpace(a.body)) != `{"items":[],"next":null}` {
		t.Errorf("an empty listing is %s", a.body)
	}
	for _, query := range []string{
		"limit=0", "limit=101", "limit=-1", "limit=x", "limit=1.5", "limit=99999999999999999999", "cursor=x", "cursor=..%2f..", "cursor=MQ." + strings.Repeat("A", 26),
	} {
		s.get("/v1/images?"+query).is(t, "invalid_request")
	}
	for _, query := range []string{"limit=1", "limit=100", ""} {
		if a := s.get("/v1/images?" + query); a.StatusCode != http.StatusOK {
			t.Errorf("?%s: got %s, want 200", query, a.Status)
		}
	}
}

func TestADeletedSetIsGoneAndCanBeMadeAgain(t *testing.T) {
	t.Parallel()
	s := start(t)
	source := small(t, 13)
	m := s.upload(source).manifestOf(t, http.StatusCreated)
	for range 2 {
		a := s.request(http.MethodDelete, "/v1/images/"+m.ID, nil)
		if a.StatusCode != http.StatusNoContent || len(a.body) > 0 {
			t.Fatalf("DELETE: got %s %q, want 204 without a body", a.Status, a.body)
		}
	}
	s.get("/v1/images/"+m.ID).is(t, "not_found")
	s.get("/files/"+m.Variants[0].Key).is(t, "not_found")
	s.get("/files/"+m.ID+"/manifest.json").is(t, "not_found")
	s.nothingLeft()
	again := s.upload(source).manifestOf(t, http.StatusCreated)
	if again.ID != m.ID || s.logged("published") != 2 {
		t.Errorf("the second set is %s, made after %d; want %s again", again.ID, s.logged("published"), m.ID)
	}
	s.holdsFolder(again)
}

func TestDeletingWhatIsNoIDIsHarmless(t *testing.T) {
	t.Parallel()
	s := start(t)
	m := s.upload(small(t, 14)).manifestOf(t, http.StatusCreated)
	for _, id := range []string{".staging", "..%2f..%2fqueue", "x", strings.Repeat("a", 26)} {
		if a := s.request(http.MethodDelete, "/v1/images/"+id, nil); a.StatusCode != http.StatusNoContent {
			t.Errorf("DELETE %s: got %s, want 204", id, a.Status)
		}
	}
	s.holdsFolder(m)
	s.serves()
}

func TestWaitingForTheWorkIsNoPauseOfTheBody(t *testing.T) {
	t.Parallel()
	s := start(t, oneCodec, func(c *config.Config) { c.HTTP.BodyIdle, c.HTTP.SyncWait = 3*time.Second, 5*time.Second })
	s.freeze()
	s.upload(small(t, 15)).job(t, http.StatusAccepted)
}
