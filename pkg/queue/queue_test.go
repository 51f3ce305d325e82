package queue_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/leaktest"
	"github.com/optimizerd/optimizerd/pkg/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leaktest.Settle(m)) }

func open(t *testing.T, dir string) *queue.Queue {
	t.Helper()
	q, err := queue.Open(queue.Config{Dir: dir, MaxPending: 3, Keep: time.Hour}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// crash ends a queue like a power cut: only the disk remains.
func crash(t *testing.T, q *queue.Queue) {
	t.Helper()
	if err := q.Unlock(); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, q *queue.Queue, image string) jobs.Ticket {
	t.Helper()
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := place.Put(job.New(job.Job{
		Source: job.Source{SHA256: "ab"}, Recipe: ladder.DefaultConfig().Recipe(), ImageID: image,
	}, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// end ends a job as package jobs does: completed, or failed for the cause.
func end(l jobs.Lease, cause error) error {
	if _, err := l.End(cause); err != nil {
		return err
	}
	err := l.Record()
	l.Wake()
	return err
}

func lease(t *testing.T, q *queue.Queue) jobs.Lease {
	t.Helper()
	l, err := q.Lease(t.Context(), jobs.Render)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// records lists state/id for every record on disk.
func records(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range paths {
		out = append(out, filepath.Base(filepath.Dir(p))+"/"+strings.TrimSuffix(filepath.Base(p), ".json"))
	}
	return out
}

func TestJobsComeOutInTheOrderTheyWentIn(t *testing.T) {
	q := open(t, t.TempDir())
	var want, got []string
	for _, image := range []string{"a", "b", "c"} {
		put(t, q, image)
		want = append(want, image)
	}
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

func TestFolderIsAState(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	ticket := put(t, q, "a")
	id := ticket.Announce().ID
	check := func(want string) {
		t.Helper()
		if got := records(t, dir); !slices.Equal(got, []string{want + "/" + id}) {
			t.Errorf("on disk: %v, want it %s", got, want)
		}
	}
	check("pending")
	l := lease(t, q)
	check("running")
	if err := l.Return(); err != nil {
		t.Fatal(err)
	}
	check("pending")
	l = lease(t, q)
	if err := end(l, fault.New(fault.CorruptImage, "Damaged.")); err != nil {
		t.Fatal(err)
	}
	check("failed")
	j, err := q.Get(id)
	if err != nil || j.Status != job.Failed || j.Error.Code != fault.CorruptImage || j.Attempts != 2 {
		t.Errorf("got %+v, %v", j, err)
	}
}

func TestJobThatWasNotAnnouncedLeavesNoRecord(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	ticket := put(t, q, "a")
	l := lease(t, q)
	if err := end(l, nil); err != nil {
		t.Fatal(err)
	}
	if got := records(t, dir); len(got) != 0 {
		t.Errorf("on disk: %v", got)
	}
	if j := ticket.Wait(t.Context()); j.Status != job.Completed {
		t.Errorf("its client sees %s", j.Status)
	}
	if j := ticket.Announce(); !j.Status.Ended() {
		t.Errorf("announcing it after its end returns %s", j.Status)
	}
	if l.Announced() { // its source would be kept for a job that has no record
		t.Error("it counts as announced, although it has no record")
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	q := open(t, t.TempDir())
	ticket := put(t, q, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if j := ticket.Wait(ctx); j.Status != job.Pending {
		t.Errorf("got %s", j.Status)
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	q := open(t, t.TempDir())
	put(t, q, "a")
	put(t, q, "b")
	place, err := q.Reserve(true) // counts an upload in progress
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Reserve(true); fault.CodeOf(err) != fault.QueueFull {
		t.Errorf("got %v, want %s", err, fault.QueueFull)
	}
	place.Release()
	place.Release()
	if _, err := q.Reserve(true); err != nil {
		t.Errorf("after a release: %v", err)
	}
	if _, err := q.Reserve(true); fault.CodeOf(err) != fault.QueueFull {
		t.Errorf("releasing twice freed two places: %v", err)
	}
}

func TestJobsByURLLeaveAQuarterOfThePlacesToUploads(t *testing.T) {
	for most, want := range map[int]int{1: 1, 3: 3, 4: 3, 8: 6} {
		q, err := queue.Open(queue.Config{Dir: t.TempDir(), MaxPending: most, Keep: time.Hour}, zaptest.NewLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		reserve := func(upload bool) (places int) {
			for ; ; places++ {
				if _, err := q.Reserve(upload); err != nil {
					if fault.CodeOf(err) != fault.QueueFull {
						t.Error(err)
					}
					return places
				}
			}
		}
		if got := reserve(false); got != want {
			t.Errorf("of %d places jobs by URL take %d, want %d", most, got, want)
		}
		if want < most && q.Check() != nil {
			t.Errorf("of %d places none is left: %v", most, q.Check())
		}
		if got := reserve(true); got != most-want {
			t.Errorf("of %d places uploads take %d, want %d", most, got, most-want)
		}
		if err := q.Unlock(); err != nil {
			t.Error(err)
		}
	}
}

func TestRestartLosesNothingThatWasAccepted(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	running, waiting := put(t, q, "a").Job().ID, put(t, q, "b").Job().ID
	lease(t, q)
	crash(t, q)

	q = open(t, dir)
	first, second := lease(t, q), lease(t, q)
	if first.Job().ID != running || second.Job().ID != waiting {
		t.Errorf("recovered %s then %s, want %s then %s", first.Job().ID, second.Job().ID, running, waiting)
	}
	if got := first.Job().Attempts; got != 2 {
		t.Errorf("attempts of the one in work: %d, want 2", got)
	}
	if err := end(first, nil); err != nil {
		t.Fatal(err)
	}
	if j, err := q.Get(running); err != nil || j.Status != job.Completed {
		t.Errorf("a recovered job is not on record after its end: %+v, %v", j, err)
	}
}

func TestDamagedRecordIsPutAside(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	id := put(t, q, "a").Job().ID
	crash(t, q)
	if err := os.WriteFile(filepath.Join(dir, "pending", id+".json"), []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir)
	if pending, _ := q.Depth(); pending != 0 {
		t.Errorf("%d jobs pending", pending)
	}
	if got := records(t, dir); len(got) != 1 || !strings.HasSuffix(got[0], ".unreadable") {
		t.Errorf("on disk: %v", got)
	}
}

func TestJobWhoseRecordSomebodyRemovedIsDoneAllTheSame(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	id := put(t, q, "a").Announce().ID
	if err := os.Remove(filepath.Join(dir, "pending", id+".json")); err != nil {
		t.Fatal(err)
	}
	l := lease(t, q)
	if err := l.Return(); err != nil {
		t.Error(err)
	}
	if l = lease(t, q); l.Job().ID != id {
		t.Errorf("leased %s", l.Job().ID)
	}
	if err := end(l, nil); err != nil {
		t.Error(err)
	}
	if j, err := q.Get(id); err != nil || j.Status != job.Completed {
		t.Errorf("got %+v, %v", j, err)
	}
}

func TestSecondOwnerIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := queue.Open(queue.Config{Dir: dir}, zaptest.NewLogger(t))
	if err == nil || !strings.Contains(err.Error(), "another optimizerd") {
		t.Errorf("got %v", err)
	}
}

func TestCloseReleasesEveryWorkerAndRefusesUploads(t *testing.T) {
	q := open(t, t.TempDir())
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			if _, err := q.Lease(context.Background(), jobs.Render); !errors.Is(err, jobs.ErrQueueClosed) {
				t.Errorf("a worker got %v", err)
			}
		})
	}
	q.Close()
	q.Close()
	workers.Wait()
	if _, err := q.Reserve(true); fault.CodeOf(err) != fault.ShuttingDown {
		t.Errorf("reserving gives %v", err)
	}
	if _, err := place.Put(job.New(job.Job{Source: job.Source{SHA256: "ab"}, ImageID: "a"}, time.Now())); err != nil {
		t.Errorf("an upload let in before is lost: %v", err)
	}
}

func TestGetKnowsNothingOfStrangers(t *testing.T) {
	q := open(t, t.TempDir())
	for _, id := range []string{"", "../lock", "job_01arz3ndektsv4rrffq69g5fav"} {
		if _, err := q.Get(id); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%q: got %v", id, err)
		}
	}
}

func TestEndOnRecordIsNotUndoneByWhatACrashLeaves(t *testing.T) {
	for _, left := range []string{"running", "pending"} { // a power cut can undo the rename between them
		dir := t.TempDir()
		q := open(t, dir)
		id := put(t, q, "a").Announce().ID
		record, err := os.ReadFile(filepath.Join(dir, "pending", id+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := end(lease(t, q), nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, left, id+".json"), record, 0o600); err != nil {
			t.Fatal(err)
		}
		crash(t, q)
		q = open(t, dir)
		if j, err := q.Get(id); err != nil || j.Status != job.Completed {
			t.Errorf("left in %s: the job is %s by now, %v", left, j.Status, err)
		}
		if got := records(t, dir); !slices.Equal(got, []string{"done/" + id}) {
			t.Errorf("left in %s: on disk is %v", left, got)
		}
	}
}

func TestPruneDeletesOldEndedJobsOnly(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	ended, waiting := put(t, q, "a"), put(t, q, "b")
	id := ended.Announce().ID
	if err := end(lease(t, q), nil); err != nil {
		t.Fatal(err)
	}
	if err := q.Prune(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Get(id); err != nil {
		t.Errorf("a job that just ended is forgotten: %v", err)
	}
	if err := q.Prune(time.Now().Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Get(id); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an old job is still there: %v", err)
	}
	if _, err := q.Get(waiting.Job().ID); err != nil {
		t.Errorf("a waiting job is gone: %v", err)
	}
}

func TestWorkersByTheDozenDoEachJobOnce(t *testing.T) {
	q := open(t, t.TempDir())
	var mu sync.Mutex
	seen := make(map[string]int)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for {
				l, err := q.Lease(context.Background(), jobs.Render)
				if err != nil {
					return
				}
				mu.Lock()
				seen[l.Job().ID]++
				mu.Unlock()
				if err := end(l, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	const jobs = 50
	for range jobs {
		for {
			place, err := q.Reserve(true)
			if fault.CodeOf(err) == fault.QueueFull {
				continue // until the workers make room
			}
			ticket, err := place.Put(job.New(job.Job{Source: job.Source{SHA256: "ab"}, ImageID: "a"}, time.Now()))
			if err != nil {
				t.Fatal(err)
			}
			ticket.Wait(t.Context())
			break
		}
	}
	q.Close()
	workers.Wait()
	if len(seen) != jobs {
		t.Errorf("%d jobs were done, want %d", len(seen), jobs)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was done %d times", id, n)
		}
	}
}

// hold is like put, without a record.
func hold(t *testing.T, q *queue.Queue) jobs.Ticket {
	t.Helper()
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	return place.Hold(job.New(job.Job{
		Source: job.Source{SHA256: "ab"}, Recipe: ladder.DefaultConfig().Recipe(), ImageID: "a",
	}, time.Now()))
}

func TestHeldJobIsOnRecordOnceSomebodyCountsOnIt(t *testing.T) {
	for _, state := range []string{"pending", "running"} {
		dir := t.TempDir()
		q := open(t, dir)
		ticket := hold(t, q)
		if state == "running" {
			lease(t, q)
		}
		if got := records(t, dir); len(got) != 0 || ticket.Recorded() {
			t.Errorf("%s, before a client relies on it: %v", state, got)
		}
		for range 2 {
			if err := ticket.Record(); err != nil {
				t.Fatal(err)
			}
		}
		if got := records(t, dir); len(got) != 1 || got[0] != state+"/"+ticket.Job().ID || !ticket.Recorded() {
			t.Errorf("%s, on record: %v", state, got)
		}
		crash(t, q)
		if got := open(t, dir).Active(); len(got) != 1 || got[0].ID != ticket.Job().ID {
			t.Errorf("%s, the next start finds %v", state, got)
		}
	}
}

func TestHeldJobLeavesNoRecord(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	ticket := hold(t, q)
	if err := lease(t, q).Return(); err != nil {
		t.Fatal(err)
	}
	if err := end(lease(t, q), nil); err != nil {
		t.Fatal(err)
	}
	if err := ticket.Record(); err != nil { // as for a client that stops waiting now
		t.Fatal(err)
	}
	if got := records(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}

	ticket = hold(t, q)
	if err := ticket.Record(); err != nil {
		t.Fatal(err)
	}
	if err := end(lease(t, q), nil); err != nil { // no client got its id
		t.Fatal(err)
	}
	if got := records(t, dir); len(got) != 0 {
		t.Errorf("left of one on record: %v", got)
	}
}

// A retry removes the record of the failure; a client that asks meanwhile must find the
// job.
func TestJobIsFoundWhileItIsRetried(t *testing.T) {
	var q *queue.Queue
	var during func()
	log := zaptest.NewLogger(t, zaptest.WrapOptions(zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "job accepted" && during != nil {
			during()
		}
		return nil
	})))
	q, err := queue.Open(queue.Config{Dir: t.TempDir(), MaxPending: 10, Keep: time.Hour, Resolvers: 1}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer crash(t, q)
	place, err := q.Reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	j := put(t, q, "a").Job()
	l := lease(t, q)
	ticket, _ := q.Ticket(j.ID)
	ticket.Announce()
	if err := end(l, errors.New("damaged")); err != nil {
		t.Fatal(err)
	}
	if j, err = q.Get(j.ID); err != nil || j.Status != job.Failed {
		t.Fatalf("got %+v, %v", j, err)
	}
	if err := j.Retry(); err != nil {
		t.Fatal(err)
	}
	during = func() {
		if got, err := q.Get(j.ID); err != nil || got.Status != job.Pending {
			t.Errorf("while it is retried: %+v, %v", got, err)
		}
		if _, err := q.Take(j.ID); fault.CodeOf(err) != fault.Conflict {
			t.Errorf("canceled while it is retried: %v", err)
		}
	}
	if _, err := place.Put(j); err != nil {
		t.Fatal(err)
	}
	if got := lease(t, q).Job(); got.ID != j.ID || got.Retries != 1 {
		t.Errorf("leased is %+v", got)
	}
}
