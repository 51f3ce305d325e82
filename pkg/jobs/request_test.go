package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// origin is a Fetcher of images that contain their URL. It calls before first and
// returns its error.
type origin struct {
	spool   *spool.Spool
	fetches atomic.Int64
	before  func(ctx context.Context, url string) error
}

func (o *origin) Fetch(ctx context.Context, url string) (*spool.Upload, error) {
	o.fetches.Add(1)
	if o.before != nil {
		if err := o.before(ctx, url); err != nil {
			return nil, err
		}
	}
	_, picture, _ := strings.Cut(url, "#")
	return o.spool.Receive(strings.NewReader(gif+picture), "cat.gif")
}

// outbox records its calls in order.
type outbox struct {
	mu       sync.Mutex
	calls    []string
	webhooks map[string]job.Job
}

func (o *outbox) Put(j job.Job) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, "put "+j.ID)
	o.webhooks[j.ID] = j
	return nil
}

// of returns the job as it was put.
func (o *outbox) of(id string) job.Job {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.webhooks[id]
}

func (o *outbox) Release(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, "release "+id)
}

func newRequests(t *testing.T, dir string, before func(ctx context.Context, url string) error) (*fixture, *origin, *outbox) {
	t.Helper()
	from, out := &origin{before: before}, &outbox{webhooks: make(map[string]job.Job)}
	h := newFixture(t, dir, nil, func(d *jobs.Config) {
		from.spool = d.Spool
		d.Fetcher, d.Outbox = from, out
	})
	return h, from, out
}

func (h *fixture) request(t *testing.T, input string, o job.Options) jobs.Ticket {
	t.Helper()
	ticket, err := h.Request(job.Job{Input: input, Options: o}, job.Webhook{})
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

var wide = job.Options{Width: 320, Format: ladder.WebP}

func TestRequestBecomesOneVariantOrALadder(t *testing.T) {
	h, _, _ := newRequests(t, t.TempDir(), nil)
	for name, tc := range map[string]struct {
		options job.Options
		want    string
	}{
		"variant": {wide, "320.webp"},
		"ladder":  {job.Options{}, "480.webp 640.webp 320.jpg 480.jpg 640.jpg"},
	} {
		j := h.request(t, "https://example.com/cat", tc.options).Wait(t.Context())
		if j.Status != job.Completed {
			t.Fatalf("the %s is %s: %+v", name, j.Status, j.Error)
		}
		m, err := h.store.Get(j.ImageID)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, v := range m.Variants {
			names = append(names, v.Name())
		}
		if got := strings.Join(names, " "); got != tc.want || m.Source.Filename != "cat.gif" {
			t.Errorf("the %s has %q of %q, want %q of cat.gif", name, got, m.Source.Filename, tc.want)
		}
	}
	if n := h.spooled(t); n != 0 {
		t.Errorf("%d files are left in the spool", n)
	}
}

func TestRequestsThatAreEqualAreOneJobUntilItEnds(t *testing.T) {
	gate := make(chan struct{})
	h, from, out := newRequests(t, t.TempDir(), func(context.Context, string) error { <-gate; return nil })
	ask := func(input string, o job.Options, webhook string) jobs.Ticket {
		t.Helper()
		ticket, err := h.Request(job.Job{Input: input, Options: o}, job.Webhook{URL: webhook})
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	first := ask("https://example.com/cat", wide, "https://a.example.com")
	if same := ask("https://example.com/cat", wide, "https://b.example.com"); same.Job().ID != first.Job().ID {
		t.Errorf("an equal request is job %s, want %s", same.Job().ID, first.Job().ID)
	}
	narrower := ask("https://example.com/cat", job.Options{Width: 321}, "")
	if narrower.Job().ID == first.Job().ID {
		t.Error("other options are the same job")
	}
	dog := ask("https://example.com/dog", wide, "")
	if dog.Job().ID == first.Job().ID {
		t.Error("another input is the same job")
	}
	close(gate)
	j := first.Wait(t.Context())
	if got := out.of(j.ID).Webhooks; len(got) != 2 || got[0].URL != "https://a.example.com" || got[1].URL != "https://b.example.com" {
		t.Errorf("webhooks were sent to %v, want both clients", got)
	}
	narrower.Wait(t.Context())
	dog.Wait(t.Context())
	again := h.request(t, "https://example.com/cat", wide)
	if again.Job().ID == j.ID {
		t.Error("a request after the end gets the ended job")
	}
	runs := h.engine.runs.Load()
	if j := again.Wait(t.Context()); j.Status != job.Completed || h.engine.runs.Load() != runs {
		t.Errorf("it is %s, and the engine ran for it; its set was there", j.Status)
	}
	if n := from.fetches.Load(); n < 3 {
		t.Errorf("%d fetches", n)
	}
}

func TestJobsForOneImageAreRenderedOnce(t *testing.T) {
	h, _, _ := newRequests(t, t.TempDir(), nil)
	var tickets []jobs.Ticket
	for _, input := range []string{"https://a.example.com/#x", "https://b.example.com/#x", "https://c.example.com/#x"} {
		tickets = append(tickets, h.request(t, input, wide))
	}
	for _, ticket := range tickets {
		if j := ticket.Wait(t.Context()); j.Status != job.Completed {
			t.Errorf("%s is %s", j.Input, j.Status)
		}
	}
	if n := h.engine.runs.Load(); n != 1 {
		t.Errorf("the engine ran %d times, want once", n)
	}
	if n := h.spooled(t); n != 0 {
		t.Errorf("%d files are left in the spool", n)
	}
}

func TestFetchThatFailsIsTheJobsEnd(t *testing.T) {
	h, _, out := newRequests(t, t.TempDir(), func(context.Context, string) error {
		return fault.New(fault.InputNotFound, "The origin answered 404.")
	})
	ticket, err := h.Request(job.Job{Input: "https://example.com/cat", Options: wide}, job.Webhook{URL: "https://example.com/hook"})
	if err != nil {
		t.Fatal(err)
	}
	j := ticket.Wait(t.Context())
	if j.Status != job.Failed || *j.Error != (job.Error{Code: fault.InputNotFound, Message: "The origin answered 404."}) {
		t.Errorf("it is %s, %+v", j.Status, j.Error)
	}
	kept, err := h.queue.Get(j.ID)
	if err != nil || kept.Status != job.Failed {
		t.Errorf("on record is %+v, %v", kept, err)
	}
	h.stop()
	if got, want := strings.Join(out.calls, ", "), "put "+j.ID+", release "+j.ID; got != want {
		t.Errorf("the outbox saw %q, want %q", got, want)
	}
}

func TestStopSendsFetchesBackToTheQueue(t *testing.T) {
	dir := t.TempDir()
	began := make(chan struct{})
	h, _, _ := newRequests(t, dir, func(ctx context.Context, _ string) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	})
	id := h.request(t, "https://example.com/cat", wide).Job().ID
	<-began
	h.stop()
	h, _, _ = newRequests(t, dir, nil)
	ticket, ok := h.queue.Ticket(id)
	if ok && ticket.Wait(t.Context()).Status == job.Completed {
		return
	}
	if j, err := h.queue.Get(id); err != nil || j.Status != job.Completed {
		t.Errorf("after a restart it is %+v, %v; want it completed", j, err)
	}
}

func TestImageThatIsHereCanBeMadeAnew(t *testing.T) {
	h, from, _ := newRequests(t, t.TempDir(), nil)
	source := h.submit(t, gif).Ticket.Wait(t.Context())
	j := h.request(t, "image:"+source.ImageID, wide).Wait(t.Context())
	if j.Status != job.Completed || j.Source.SHA256 != source.Source.SHA256 || from.fetches.Load() != 0 {
		t.Fatalf("got %+v, %+v after %d fetches", j, j.Error, from.fetches.Load())
	}
	originals := func() int {
		entries, err := os.ReadDir(filepath.Join(h.dir, "originals"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if n := originals(); n != 2 || h.spooled(t) != 0 {
		t.Errorf("%d originals and %d files in the spool, want one for each set, and none", n, h.spooled(t))
	}
	for _, id := range []string{source.ImageID, j.ImageID} {
		if err := h.store.Delete(id); err != nil {
			t.Fatal(err)
		}
	}
	if n := originals(); n != 0 {
		t.Errorf("%d originals are left when their sets are deleted", n)
	}
	if _, err := h.Request(job.Job{Input: "image:" + source.ImageID, Options: wide}, job.Webhook{}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a deleted image: got %v, want %s", err, fault.NotFound)
	}
}

func TestVariantThatWasMadeByURLIsDeletedWithTheImageThatItWasRequestedOf(t *testing.T) {
	h, _, _ := newRequests(t, t.TempDir(), nil)
	image := h.submit(t, gif).Ticket.Wait(t.Context())
	byURL := h.request(t, "https://example.com/cat", wide).Wait(t.Context())
	again := h.request(t, "image:"+image.ImageID, wide).Wait(t.Context())
	if again.Status != job.Completed || again.ImageID != byURL.ImageID {
		t.Fatalf("got %+v, want the set of %s", again, byURL.ImageID)
	}
	if err := h.store.Delete(image.ImageID); err != nil {
		t.Fatal(err)
	}
	if h.store.Has(again.ImageID) {
		t.Error("the variant is still served")
	}
}

func TestUploadThatIsHereIsKeptWhenOriginalsAreWantedLater(t *testing.T) {
	h, _, _ := newRequests(t, t.TempDir(), nil)
	j := h.submit(t, gif).Ticket.Wait(t.Context())
	if err := os.Remove(filepath.Join(h.dir, "originals", j.ImageID)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.Original(j.ImageID); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("got %v, want %s", err, fault.NotFound)
	}
	h.submit(t, gif)
	if _, err := h.store.Original(j.ImageID); err != nil {
		t.Errorf("after it was sent again: %v", err)
	}
}

func TestVariantThatItsFormatCannotHold(t *testing.T) {
	h, _, _ := newRequests(t, t.TempDir(), nil)
	h.renderer.Engine = none{}
	j := h.request(t, "https://example.com/long", job.Options{Format: ladder.WebP}).Wait(t.Context())
	if j.Status != job.Failed || j.Error.Code != fault.InvalidOptions || !strings.Contains(j.Error.Message, "16383") {
		t.Errorf("got %s, %+v", j.Status, j.Error)
	}
}

// none is an engine for an image that is too high for WebP.
type none struct{}

func (none) Render(_ context.Context, _ *os.File, _ ladder.Recipe, _ ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	return ladder.Summary{}, sink.Opened(ladder.Source{Format: "jpeg", Width: 100, Height: 20000, Frames: 1})
}

func TestRequestOnAFullQueueIsRefusedAndAnEqualOneJoins(t *testing.T) {
	gate := make(chan struct{})
	h, _, _ := newRequests(t, t.TempDir(), func(context.Context, string) error { <-gate; return nil })
	defer close(gate)
	var err error
	first := h.request(t, "https://example.com/0", wide)
	for i := 1; err == nil && i < 100; i++ {
		_, err = h.Request(job.Job{Input: "https://example.com/" + strings.Repeat("x", i), Options: wide}, job.Webhook{})
	}
	if fault.CodeOf(err) != fault.QueueFull {
		t.Fatalf("got %v, want %s", err, fault.QueueFull)
	}
	if same := h.request(t, "https://example.com/0", wide); same.Job().ID != first.Job().ID {
		t.Error("an equal request does not join when the queue is full")
	}
}

func TestFailedFetchLeavesNothingToJoin(t *testing.T) {
	h, _, _ := newRequests(t, t.TempDir(), func(context.Context, string) error { return errors.New("unexpected") })
	first := h.request(t, "https://example.com/cat", wide)
	first.Wait(t.Context())
	if second := h.request(t, "https://example.com/cat", wide); second.Job().ID == first.Job().ID {
		t.Error("the next request gets the failed job")
	}
}

func TestWebhooksAddedAsAJobEndsAreDelivered(t *testing.T) {
	h, _, out := newRequests(t, t.TempDir(), func(context.Context, string) error {
		return fault.New(fault.InputNotFound, "The origin answered 404.")
	})
	const clients, each = 4, 50
	var group sync.WaitGroup
	var mu sync.Mutex
	accepted := make(map[string]jobs.Ticket)
	for c := range clients {
		group.Go(func() {
			for i := range each {
				url := fmt.Sprintf("https://%d.example.com/%d", c, i)
				var ticket jobs.Ticket
				err := error(fault.New(fault.QueueFull, "Not tried yet."))
				for fault.CodeOf(err) == fault.QueueFull {
					ticket, err = h.Request(job.Job{Input: "https://example.com/cat"}, job.Webhook{URL: url})
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				accepted[url] = ticket
				mu.Unlock()
			}
		})
	}
	for range each { // and uploads that fail after their client has left
		group.Go(func() {
			_, err := h.try(gif, job.Webhook{URL: "https://upload.example.com"}, false)
			if err != nil && fault.CodeOf(err) != fault.QueueFull {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, ticket := range accepted {
		ticket.Wait(t.Context())
	}
	h.stop()
	webhooks := make(map[string]int)
	for _, j := range out.webhooks {
		for _, w := range j.Webhooks {
			webhooks[w.URL]++
		}
	}
	for url := range accepted {
		if webhooks[url] != 1 {
			t.Errorf("%s got %d webhooks", url, webhooks[url])
		}
	}
}

func TestImageThatDoesNotFitTheDiskIsNotWaitedFor(t *testing.T) {
	h, from, _ := newRequests(t, t.TempDir(), func(_ context.Context, url string) error {
		if strings.HasSuffix(url, "large") {
			return fault.New(fault.InsufficientStorage, "The disk has 1 MiB free.")
		}
		return nil
	})
	large := h.request(t, "https://example.com/large", wide)
	if j := large.Wait(t.Context()); j.Status != job.Failed || j.Error.Code != fault.InsufficientStorage {
		t.Errorf("it is %s, %+v", j.Status, j.Error)
	}
	if n := from.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestImageThatCrashesTheCodecBehindManyURLsDoesSoTwice(t *testing.T) {
	h, _, _ := newRequests(t, t.TempDir(), nil)
	killer := &engine{before: func(context.Context, int64) error { return &codec.Crash{Reason: "it ended (signal: killed)"} }}
	h.renderer.Engine, h.renderer.LastResort = killer, killer
	var tickets []jobs.Ticket
	for i := range 8 {
		tickets = append(tickets, h.request(t, fmt.Sprintf("https://%d.example.com/#bomb", i), wide))
	}
	for _, ticket := range tickets {
		if j := ticket.Wait(t.Context()); j.Status != job.Failed || j.Error.Code != fault.ProcessingFailed {
			t.Errorf("%s is %s, %+v", j.Input, j.Status, j.Error)
		}
	}
	if n := killer.runs.Load(); n != 2 {
		t.Errorf("the engine was killed %d times, want twice", n)
	}
}

// A client sees that its job has failed a moment before that is recorded.
func TestRetryWaitsUntilTheFailureIsRecorded(t *testing.T) {
	var fetched atomic.Bool
	h, _, out := newRequests(t, t.TempDir(), func(context.Context, string) error {
		if !fetched.Swap(true) {
			return fault.New(fault.InputNotFound, "The origin answered 404.")
		}
		return nil
	})
	out.mu.Lock() // the end cannot be recorded
	ticket := h.request(t, "https://example.com/cat", wide)
	for ticket.Job().Status != job.Failed && t.Context().Err() == nil {
		time.Sleep(time.Millisecond) // the test's time limit ends this
	}
	go out.mu.Unlock()
	again, err := h.Retry(t.Context(), ticket.Job().ID)
	if err != nil {
		t.Fatal(err)
	}
	if j := again.Wait(t.Context()); j.Status != job.Completed {
		t.Errorf("retried, it is %s: %v", j.Status, j.Error)
	}
}

// slowEnds is a queue that calls recorded whenever it has recorded an end.
type slowEnds struct {
	jobs.Queue
	recorded func(job.Job)
}

func (q slowEnds) Lease(ctx context.Context, p jobs.Phase) (jobs.Lease, error) {
	l, err := q.Queue.Lease(ctx, p)
	return slowEnd{l, q.recorded}, err
}

type slowEnd struct {
	jobs.Lease
	recorded func(job.Job)
}

func (l slowEnd) Record() error {
	err := l.Lease.Record()
	l.recorded(l.Job())
	return err
}

// An upload that is retried as soon as its failure is on record has its source: what
// deletes that of an ended job has run before.
func TestRetryWaitsUntilTheSourceOfTheFailureIsReleased(t *testing.T) {
	failures, retried := make(chan job.Job, 1), make(chan struct{})
	recorded := func(j job.Job) {
		if j.Status != job.Failed {
			return
		}
		failures <- j
		select { // long enough for a retry that does not wait
		case <-retried:
		case <-time.After(100 * time.Millisecond):
		}
	}
	h := newFixture(t, t.TempDir(), func(_ context.Context, run int64) error {
		if run == 1 {
			return fault.New(fault.CorruptImage, "The image is damaged.")
		}
		return nil
	}, func(c *jobs.Config) {
		c.Outbox, c.Queue = &outbox{webhooks: make(map[string]job.Job)}, slowEnds{c.Queue, recorded}
	})
	if _, err := h.try(gif, job.Webhook{URL: "https://example.com/hook"}, false); err != nil {
		t.Fatal(err)
	}
	again, err := h.Retry(t.Context(), (<-failures).ID)
	close(retried)
	if err != nil {
		t.Fatal(err)
	}
	if j := again.Wait(t.Context()); j.Status != job.Completed {
		t.Errorf("retried, it is %s: %v", j.Status, j.Error)
	}
}
