package queue_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/queue"
)

var settings = ladder.DefaultConfig()

func openLarge(t *testing.T, dir string) *queue.Queue {
	t.Helper()
	q, err := queue.Open(queue.Config{Dir: dir, MaxPending: 1000, Keep: time.Hour, Resolvers: 4}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func putJob(t *testing.T, q *queue.Queue, j job.Job) jobs.Ticket {
	t.Helper()
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	if !j.Recipe.Valid() {
		j.Recipe = settings.Recipe()
	}
	ticket, err := place.Put(job.New(j, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// next leases a job of a phase, or returns nil if none is ready.
func next(t *testing.T, q *queue.Queue, phase jobs.Phase) jobs.Lease {
	t.Helper()
	l, err := q.TryLease(phase)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func resolve(t *testing.T, l jobs.Lease) {
	t.Helper()
	if err := l.SetSource(job.Source{SHA256: "ab"}, "id of "+l.Job().Input); err != nil {
		t.Fatal(err)
	}
	if err := l.Advance(); err != nil {
		t.Fatal(err)
	}
}

func TestSmallJobsDoNotWaitBehindABatchOfLadders(t *testing.T) {
	q := openLarge(t, t.TempDir())
	single := settings.Single(ladder.Box{Width: 800}, ladder.WebP)
	for i := range 50 {
		putJob(t, q, job.Job{Input: fmt.Sprintf("https://%d.example.com/ladder", i), Source: job.Source{SHA256: "ab"}, ImageID: "ladder"})
	}
	for range 20 {
		putJob(t, q, job.Job{Source: job.Source{SHA256: "ab"}, ImageID: "upload"})
	}
	for i := range 20 {
		putJob(t, q, job.Job{Input: fmt.Sprintf("https://%d.example.com/single", i), Source: job.Source{SHA256: "ab"}, ImageID: "single", Recipe: single})
	}
	var order []string
	for range 35 {
		l := next(t, q, jobs.Render)
		order = append(order, l.Job().ImageID)
		if err := end(l, nil); err != nil {
			t.Fatal(err)
		}
	}
	count := func(what string) (n int) {
		for _, o := range order {
			if o == what {
				n++
			}
		}
		return n
	}
	if order[0] != "single" || count("single") != 20 || count("upload") != 10 || count("ladder") != 5 {
		t.Errorf("of the first 35 jobs %d are single, %d uploads, %d ladders, the first is %s; want 20, 10, 5, and single first",
			count("single"), count("upload"), count("ladder"), order[0])
	}
	for i := range 5 {
		if got := order[7*i : 7*i+7]; !slices.Contains(got, "ladder") {
			t.Errorf("no ladder among %v: they starve", got)
		}
	}
}

func TestLaneThatIsAloneGetsEveryTurn(t *testing.T) {
	q := openLarge(t, t.TempDir())
	for i := range 10 {
		putJob(t, q, job.Job{Source: job.Source{SHA256: "ab"}, ImageID: fmt.Sprint(i)})
	}
	for i := range 10 {
		if got := next(t, q, jobs.Render).Job().ImageID; got != fmt.Sprint(i) {
			t.Errorf("job %d is %s", i, got)
		}
	}
}

func TestSlowHostHoldsUpNoOther(t *testing.T) {
	q := openLarge(t, t.TempDir())
	single := settings.Single(ladder.Box{}, ladder.WebP)
	for i := range 10 {
		putJob(t, q, job.Job{Input: fmt.Sprintf("https://slow.example.com/%d", i), Recipe: single})
	}
	putJob(t, q, job.Job{Input: "https://SLOW.example.com.:443/again", Recipe: single})
	putJob(t, q, job.Job{Input: "https://quick.example.com/a", Recipe: single})
	putJob(t, q, job.Job{Input: "image:k3v5", Recipe: single})
	var inputs []string
	var first jobs.Lease
	for l := next(t, q, jobs.Resolve); l != nil; l = next(t, q, jobs.Resolve) {
		inputs = append(inputs, l.Job().Input)
		if first == nil {
			first = l
		}
	}
	want := []string{"https://slow.example.com/0", "https://slow.example.com/1", "https://quick.example.com/a", "image:k3v5"}
	if !slices.Equal(inputs, want) {
		t.Errorf("resolved at once: %v, want %v", inputs, want)
	}
	if err := end(first, fault.New(fault.InputUnavailable, "Slow.")); err != nil {
		t.Fatal(err)
	}
	if l := next(t, q, jobs.Resolve); l == nil || l.Job().Input != "https://slow.example.com/2" {
		t.Errorf("after one of them has ended, the next of the slow host is not leased")
	}
}

func TestQueueResolvesNoMoreThanRenderingNeeds(t *testing.T) {
	q := openLarge(t, t.TempDir())
	const many = 40
	for i := range many {
		putJob(t, q, job.Job{Input: fmt.Sprintf("https://%d.example.com/", i)})
	}
	fetched := 0
	for l := next(t, q, jobs.Resolve); l != nil; l = next(t, q, jobs.Resolve) {
		resolve(t, l)
		fetched++
	}
	if fetched == 0 || fetched > many/2 {
		t.Errorf("%d of %d pictures are fetched before the first is rendered", fetched, many)
	}
	if err := end(next(t, q, jobs.Render), nil); err != nil {
		t.Fatal(err)
	}
	if next(t, q, jobs.Resolve) == nil {
		t.Error("after one is rendered, none is fetched")
	}
}

func TestJobByURLGoesThroughBothPhases(t *testing.T) {
	dir := t.TempDir()
	q := openLarge(t, dir)
	ticket := putJob(t, q, job.Job{Input: "https://example.com/cat.jpg"})
	if next(t, q, jobs.Render) != nil {
		t.Error("it is rendered before its picture is there")
	}
	resolve(t, next(t, q, jobs.Resolve))
	if j := ticket.Job(); j.Status != job.Processing || j.Attempts != 1 || !j.Resolved() {
		t.Errorf("between the phases it is %+v", j)
	}
	if got, want := records(t, dir), []string{"running/" + ticket.Job().ID}; !slices.Equal(got, want) {
		t.Errorf("on disk: %v, want %v", got, want)
	}
	crash(t, q)

	q = openLarge(t, dir)
	if next(t, q, jobs.Resolve) != nil {
		t.Error("after a crash its picture is fetched again")
	}
	l := next(t, q, jobs.Render)
	if j := l.Job(); j.Attempts != 2 || j.ImageID != "id of https://example.com/cat.jpg" {
		t.Errorf("after a crash it is %+v, want the second attempt", j)
	}
	if err := end(l, nil); err != nil {
		t.Fatal(err)
	}
	if j, err := q.Get(ticket.Job().ID); err != nil || j.Status != job.Completed {
		t.Errorf("its end is not on record: %+v, %v", j, err)
	}
}

func TestJobThatEndedBeforeACrashHasEnded(t *testing.T) {
	dir := t.TempDir()
	q := openLarge(t, dir)
	ticket := putJob(t, q, job.Job{Input: "https://example.com/cat.jpg"})
	id := ticket.Job().ID
	l := next(t, q, jobs.Resolve)
	running := filepath.Join(dir, "running", id+".json")
	record, err := os.ReadFile(running)
	if err != nil {
		t.Fatal(err)
	}
	if err := end(l, fault.New(fault.InputNotFound, "Gone.")); err != nil {
		t.Fatal(err)
	}
	// As after a crash between recording the end and deleting this record:
	if err := os.WriteFile(running, record, 0o600); err != nil {
		t.Fatal(err)
	}
	crash(t, q)
	q = openLarge(t, dir)
	if got := q.Active(); len(got) != 0 {
		t.Errorf("it is done again: %+v", got)
	}
	if j, err := q.Get(id); err != nil || j.Status != job.Failed {
		t.Errorf("got %+v, %v; want it failed", j, err)
	}
}

func TestFurtherWebhooksSurviveACrashAtEveryStage(t *testing.T) {
	dir := t.TempDir()
	q := openLarge(t, dir)
	ticket := putJob(t, q, job.Job{Input: "https://example.com/cat.jpg", Webhooks: []job.Webhook{{URL: "https://a.example.com"}}})
	add := func(url string) {
		t.Helper()
		if ok, err := ticket.AddWebhook(job.Webhook{URL: url}); !ok || err != nil {
			t.Fatalf("got %v, %v", ok, err)
		}
	}
	reopened := func(want ...string) {
		t.Helper()
		crash(t, q)
		q = openLarge(t, dir)
		var ok bool
		if ticket, ok = q.Ticket(ticket.Job().ID); !ok {
			t.Fatal("after a crash the job is gone")
		}
		var got []string
		for _, w := range ticket.Job().Webhooks {
			got = append(got, w.URL)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("after a crash the webhooks are %v, want %v", got, want)
		}
	}
	add("https://b.example.com")
	add("https://b.example.com") // the same receiver gets one webhook
	reopened("https://a.example.com", "https://b.example.com")
	next(t, q, jobs.Resolve)
	add("https://c.example.com")
	reopened("https://a.example.com", "https://b.example.com", "https://c.example.com")
	l := next(t, q, jobs.Resolve)
	resolve(t, l)
	add("https://d.example.com")
	reopened("https://a.example.com", "https://b.example.com", "https://c.example.com", "https://d.example.com")
	if j := ticket.Job(); !j.Resolved() {
		t.Errorf("after a crash it is %+v", j)
	}
	if err := end(next(t, q, jobs.Render), nil); err != nil {
		t.Fatal(err)
	}
	if ok, err := ticket.AddWebhook(job.Webhook{URL: "https://e.example.com"}); ok || err != nil {
		t.Errorf("a webhook for an ended job: got %v, %v; want false", ok, err)
	}
}

func TestQueueRecordsAnEndWhenThereIsSpaceAgain(t *testing.T) {
	dir := t.TempDir()
	q := openLarge(t, dir)
	ticket := putJob(t, q, job.Job{Input: "https://example.com/cat.jpg"})
	l := next(t, q, jobs.Resolve)
	j, err := l.End(fault.New(fault.InputNotFound, "Gone."))
	if err != nil || j.Status != job.Failed || j.FinishedAt == nil {
		t.Fatalf("got %+v, %v; want it failed", j, err)
	}
	folder := filepath.Join(dir, "failed")
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(); err == nil {
		t.Error("an end is recorded in a folder that is not there")
	}
	l.Wake() // clients need not wait for the disk
	if got, err := q.Get(j.ID); err != nil || got.Status != job.Failed || ticket.Wait(t.Context()).Status != job.Failed {
		t.Errorf("before the end it is %+v, %v; want it failed", got, err)
	}
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	if got, want := records(t, dir), []string{"running/" + j.ID}; !slices.Equal(got, want) {
		t.Errorf("on disk: %v, want %v", got, want)
	}
	if err := l.Record(); err != nil {
		t.Error(err)
	}
	if got, want := records(t, dir), []string{"failed/" + j.ID}; !slices.Equal(got, want) {
		t.Errorf("on disk: %v, want %v", got, want)
	}
}

func TestBatchOfLaddersLeavesResolversForOthers(t *testing.T) {
	q := openLarge(t, t.TempDir()) // with four
	for i := range 20 {
		putJob(t, q, job.Job{Input: fmt.Sprintf("https://%d.example.com/", i)})
	}
	held := 0
	for next(t, q, jobs.Resolve) != nil {
		held++
	}
	if held != 2 {
		t.Errorf("%d of 4 resolvers work on ladders, want half", held)
	}
	putJob(t, q, job.Job{Input: "https://example.com/", Recipe: settings.Single(ladder.Box{}, ladder.WebP)})
	if next(t, q, jobs.Resolve) == nil {
		t.Error("a single variant waits behind slow ladders")
	}
}

func TestJobHasABoundedNumberOfReceivers(t *testing.T) {
	q := openLarge(t, t.TempDir())
	ticket := putJob(t, q, job.Job{Input: "https://example.com/cat.jpg"})
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, err = ticket.AddWebhook(job.Webhook{URL: fmt.Sprintf("https://%d.example.com", n)})
	}
	if fault.CodeOf(err) != fault.QueueFull || n < 10 {
		t.Errorf("after %d receivers: %v, want %s", n, err, fault.QueueFull)
	}
}

func TestJobReturnedAtAStopIsNotLeasedAgain(t *testing.T) {
	q := openLarge(t, t.TempDir())
	putJob(t, q, job.Job{Input: "https://example.com/cat.jpg"})
	stopping, stop := context.WithCancel(t.Context())
	l, err := q.Lease(stopping, jobs.Resolve)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := l.Return(); err != nil {
		t.Fatal(err)
	}
	if l, err := q.Lease(stopping, jobs.Resolve); err == nil {
		t.Errorf("%s is leased again", l.Job().ID)
	}
	if pending, running := q.Depth(); pending != 1 || running != 0 {
		t.Errorf("%d pending, %d running; want it pending", pending, running)
	}
}

func TestBackgroundJobWaitsUntilNothingElseIsReady(t *testing.T) {
	q := open(t, t.TempDir())
	defer crash(t, q)
	var want, got []string
	for _, j := range []job.Job{{ImageID: "later", Background: true}, {ImageID: "a"}, {ImageID: "b"}} {
		place, err := q.Reserve(true)
		if err != nil {
			t.Fatal(err)
		}
		j.Source, j.Recipe = job.Source{SHA256: "ab"}, ladder.DefaultConfig().Recipe()
		if _, err := place.Put(job.New(j, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	want = []string{"a", "b", "later"}
	for range want {
		l := lease(t, q)
		got = append(got, l.Job().ImageID)
		if err := end(l, nil); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// openDedicated opens a queue whose background jobs have workers of their own.
func openDedicated(t *testing.T, dir string) *queue.Queue {
	t.Helper()
	q, err := queue.Open(queue.Config{Dir: dir, MaxPending: 10, Keep: time.Hour, Resolvers: 4, Dedicated: true}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// checkNext leases a job of a phase, and compares what it is made from; "" is none.
func checkNext(t *testing.T, q *queue.Queue, phase jobs.Phase, want, what string) {
	t.Helper()
	got := ""
	if l := next(t, q, phase); l != nil {
		got = cmp.Or(l.Job().Input, l.Job().ImageID)
	}
	if got != want {
		t.Errorf("%s: leased %q, want %q", what, got, want)
	}
}

// A background job with workers of its own takes no other's worker, whatever it lasts,
// and begins only while no other job waits for one.
func TestBackgroundJobWithWorkersOfItsOwnWaitsUntilNothingElseIsReady(t *testing.T) {
	dir := t.TempDir()
	q := openDedicated(t, dir)
	putJob(t, q, job.Job{Input: "image:later", Background: true})
	resolve(t, next(t, q, jobs.Resolve))
	checkNext(t, q, jobs.Render, "", "by another worker")
	var cancel string
	for _, id := range []string{"a", "b"} {
		cancel = putJob(t, q, job.Job{Source: job.Source{SHA256: "ab"}, ImageID: id}).Job().ID
	}
	checkNext(t, q, jobs.Background, "", "while two uploads wait")
	checkNext(t, q, jobs.Render, "a", "an upload")
	checkNext(t, q, jobs.Background, "", "while an upload waits")

	leased := make(chan string)
	go func() {
		l, err := q.Lease(t.Context(), jobs.Background)
		if err != nil {
			t.Error(err)
		}
		leased <- l.Job().Input
	}()
	l, err := q.Take(cancel)
	if err == nil {
		err = end(l, fault.New(fault.Canceled, "The job was canceled."))
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := <-leased; got != "image:later" {
		t.Errorf("when no upload waits any more: leased %q", got)
	}
	crash(t, q)

	q = openDedicated(t, dir)
	defer crash(t, q)
	checkNext(t, q, jobs.Background, "", "after a crash, while an upload waits")
	checkNext(t, q, jobs.Render, "a", "after a crash")
	checkNext(t, q, jobs.Background, "image:later", "after a crash")
}
