package jobs_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/leaktest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/queue"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leaktest.Settle(m)) }

// engine is a codec.Engine for sources of 640 × 480. It calls before first and
// returns its error.
type engine struct {
	runs   atomic.Int64
	before func(ctx context.Context, run int64) error
}

func (e *engine) Render(ctx context.Context, _ *os.File, recipe ladder.Recipe, _ ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	run := e.runs.Add(1)
	if e.before != nil {
		if err := e.before(ctx, run); err != nil {
			return ladder.Summary{}, err
		}
	}
	if err := sink.Opened(ladder.Source{Format: "gif", Width: 640, Height: 480, Frames: 1}); err != nil {
		return ladder.Summary{}, err
	}
	variants := recipe.Plan(640, 480).Variants
	if recipe.Single() {
		v := variants[0]
		v.Bytes = int64(len(v.Name()))
		return ladder.Summary{}, sink.Variant(v, strings.NewReader(v.Name()))
	}
	for i := len(variants) - 1; i > 0; i-- { // all but the first, last first
		v := variants[i]
		v.Bytes = int64(len(v.Name()))
		if err := sink.Variant(v, strings.NewReader(v.Name())); err != nil {
			return ladder.Summary{}, err
		}
	}
	omitted := ladder.Omission{Format: variants[0].Format, Width: variants[0].Width, Reason: ladder.NotSmaller}
	return ladder.Summary{Omitted: []ladder.Omission{omitted}, ThumbHash: []byte{1, 2, 3}, Color: ladder.RGB{0x8a, 0x7f, 0x6e}}, nil
}

// fixture is a service with all its directories. Its workers run until the test ends.
type fixture struct {
	*jobs.Service
	dir        string
	queue      *queue.Queue
	spool      *spool.Spool
	store      *publish.Store
	quarantine *quarantine.Store
	renderer   *render.Renderer
	engine     *engine
	stop       func()     // gives up on the jobs in progress
	ended      chan error // has the result of Run when the workers have ended
}

func newFixture(t *testing.T, dir string, before func(ctx context.Context, run int64) error, changes ...func(*jobs.Config)) *fixture {
	t.Helper()
	return newFixtureWith(t, dir, 0, before, changes...)
}

// newFixtureWith has workers of their own for jobs in the background, if there are any.
func newFixtureWith(t *testing.T, dir string, background int, before func(ctx context.Context, run int64) error, changes ...func(*jobs.Config)) *fixture {
	t.Helper()
	log := zaptest.NewLogger(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	q, err := queue.Open(queue.Config{Dir: filepath.Join(dir, "queue"), MaxPending: 10, Keep: time.Hour, Resolvers: 2, Dedicated: background > 0}, log)
	must(err)
	sources, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 1 << 20, MinFree: 1, Retry: filepath.Join(dir, "retry"), RetryBytes: 1 << 20})
	must(err)
	store, err := publish.Open(publish.Config{
		Dir: filepath.Join(dir, "files"), Originals: filepath.Join(dir, "originals"), KeepOriginals: true,
	}, log)
	must(err)
	bad, err := quarantine.Open(filepath.Join(dir, "quarantine"), "1.2.3")
	must(err)
	e := &engine{before: before}
	h := &fixture{
		dir: dir, queue: q, store: store, quarantine: bad, engine: e,
		renderer: &render.Renderer{Engine: e, LastResort: e, Sets: store, Log: log},
	}
	config := jobs.Config{
		Queue: q, Sets: store, Renderer: h.renderer, Spool: sources, Quarantine: bad,
		Ladder: ladder.DefaultConfig(), Writes: []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF}, Log: log,
	}
	for _, change := range changes {
		change(&config)
	}
	h.spool = config.Spool
	h.Service, err = jobs.New(config)
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	h.ended = make(chan error, 1)
	go func() { h.ended <- h.Run(ctx, 2, 2, background) }()
	h.stop = sync.OnceFunc(func() {
		q.Close()
		cancel()
		must(<-h.ended)
		must(q.Unlock())
		must(store.Close())
	})
	t.Cleanup(h.stop)
	return h
}

const gif = "GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// try submits an upload as the API does.
func (h *fixture) try(content string, webhook job.Webhook, inMemory bool) (jobs.Submission, error) {
	admission, err := h.Admit(int64(len(content)), 0)
	if err != nil {
		return jobs.Submission{}, err
	}
	defer admission.Close()
	if _, err := admission.Receive(strings.NewReader(content), "cat.gif", inMemory); err != nil {
		return jobs.Submission{}, err
	}
	return admission.Submit(webhook)
}

func (h *fixture) submit(t *testing.T, content string) jobs.Submission {
	t.Helper()
	s, err := h.try(content, job.Webhook{}, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *fixture) spooled(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// checkManifest checks the manifest of gif, as engine renders it.
func checkManifest(t *testing.T, m manifest.Manifest) {
	t.Helper()
	var names []string
	for _, v := range m.Variants {
		names = append(names, v.Name())
	}
	if got, want := strings.Join(names, " "), "480.webp 640.webp 320.jpg 480.jpg 640.jpg"; got != want {
		t.Errorf("variants %q, want %q", got, want)
	}
	if len(m.Omitted) != 1 || m.Omitted[0].Width != 320 {
		t.Errorf("omitted %v", m.Omitted)
	}
	digest := sha256.Sum256([]byte(gif))
	want := manifest.Source{SHA256: hex.EncodeToString(digest[:]), Filename: "cat.gif", Format: "gif", Bytes: int64(len(gif)), Width: 640, Height: 480, Frames: 1}
	if diff := cmp.Diff(want, m.Source); diff != "" || m.Placeholder.Color != "#8a7f6e" {
		t.Errorf("placeholder %+v, source (-want +got):\n%s", m.Placeholder, diff)
	}
}

func TestUploadBecomesAPublishedSet(t *testing.T) {
	h := newFixture(t, t.TempDir(), nil)
	s := h.submit(t, gif)
	if s.Ticket == nil || s.Joined || s.Manifest != nil {
		t.Fatalf("got %+v, want a job of its own", s)
	}
	j := s.Ticket.Wait(t.Context())
	if j.Status != job.Completed {
		t.Fatalf("the job is %s: %v", j.Status, j.Error)
	}
	m, err := h.store.Get(j.ImageID)
	if err != nil {
		t.Fatal(err)
	}
	checkManifest(t, m)
	if n := h.spooled(t); n != 0 {
		t.Errorf("%d files are left in the spool", n)
	}

	again := h.submit(t, gif)
	if again.Manifest == nil || again.Manifest.ID != m.ID {
		t.Errorf("the same upload again: %+v, want the manifest", again)
	}
	if runs := h.engine.runs.Load(); runs != 1 {
		t.Errorf("the engine ran %d times, want once", runs)
	}
	if n := h.spooled(t); n != 0 {
		t.Errorf("%d files are left in the spool after the repeat", n)
	}
}

func TestUploadsThatAreEqualAndArriveTogetherAreRenderedOnce(t *testing.T) {
	gate := make(chan struct{})
	h := newFixture(t, t.TempDir(), func(context.Context, int64) error { <-gate; return nil })
	first, second, other := h.submit(t, gif), h.submit(t, gif), h.submit(t, gif+"x")
	if first.Joined || !second.Joined || other.Joined {
		t.Errorf("joined: first %v, second %v, other %v", first.Joined, second.Joined, other.Joined)
	}
	close(gate)
	for _, s := range []jobs.Submission{first, second, other} {
		if j := s.Ticket.Wait(t.Context()); j.Status != job.Completed {
			t.Errorf("%s is %s", j.ID, j.Status)
		}
	}
	if runs := h.engine.runs.Load(); runs != 2 {
		t.Errorf("the engine ran %d times, want twice", runs)
	}
}

func TestBadImageFailsOnceAndLeavesNothing(t *testing.T) {
	h := newFixture(t, t.TempDir(), func(context.Context, int64) error {
		return fault.New(fault.CorruptImage, "The picture is damaged.")
	})
	j := h.submit(t, gif).Ticket.Wait(t.Context())
	if j.Status != job.Failed || *j.Error != (job.Error{Code: fault.CorruptImage, Message: "The picture is damaged."}) {
		t.Errorf("got %s, %+v", j.Status, j.Error)
	}
	if runs := h.engine.runs.Load(); runs != 1 {
		t.Errorf("it was tried %d times", runs)
	}
	left, err := filepath.Glob(filepath.Join(h.dir, "*", "*", "*"))
	if err != nil || len(left) != 0 || h.spooled(t) != 0 {
		t.Errorf("left behind: %v, %d in the spool, %v", left, h.spooled(t), err)
	}
}

func TestCrashIsTriedOnceMore(t *testing.T) {
	for crashes, want := range map[int64]job.Status{1: job.Completed, 2: job.Failed} {
		h := newFixture(t, t.TempDir(), func(_ context.Context, run int64) error {
			if run <= crashes {
				return &codec.Crash{Reason: "it ended (signal: killed)"}
			}
			return nil
		})
		j := h.submit(t, gif).Ticket.Wait(t.Context())
		if j.Status != want {
			t.Errorf("after %d crashes it is %s, want %s", crashes, j.Status, want)
		}
		if want == job.Failed && (j.Error.Code != fault.ProcessingFailed || strings.Contains(j.Error.Message, "signal")) {
			t.Errorf("error %+v", j.Error)
		}
		h.stop()
	}
}

func TestSourceThatKillsTwiceIsRefusedAtOnceFromThenOn(t *testing.T) {
	dir := t.TempDir()
	h := newFixture(t, dir, func(context.Context, int64) error { return &codec.Crash{Reason: "it ended (signal: killed)"} })
	if j := h.submit(t, gif).Ticket.Wait(t.Context()); j.Error == nil || j.Error.Code != fault.ProcessingFailed {
		t.Fatalf("the first time: %+v", j)
	}
	h.stop()
	h = newFixture(t, dir, nil) // the quarantine survives a restart
	refused := func(content string) error {
		_, err := h.try(content, job.Webhook{}, false)
		return err
	}
	if err := refused(gif); fault.CodeOf(err) != fault.ProcessingFailed {
		t.Errorf("the same bytes again: %v", err)
	}
	if runs := h.engine.runs.Load(); runs != 0 {
		t.Errorf("the engine ran %d times", runs)
	}
	if n, err := h.quarantine.Clear(); n != 1 || err != nil {
		t.Errorf("cleared %d, %v", n, err)
	}
	if err := refused(gif); err != nil {
		t.Errorf("after it is cleared: %v", err)
	}
}

func TestStopReturnsTheJobAndTheNextStartDoesIt(t *testing.T) {
	dir := t.TempDir()
	started := make(chan struct{})
	h := newFixture(t, dir, func(ctx context.Context, _ int64) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	j := h.submit(t, gif).Ticket.Job()
	<-started
	h.stop()
	if n := h.spooled(t); n != 1 {
		t.Fatalf("%d files in the spool, want the source of the waiting job", n)
	}
	h = newFixture(t, dir, nil)
	ticket, ok := h.queue.Ticket(j.ID)
	if ok {
		ticket.Wait(t.Context())
	}
	got, err := h.queue.Get(j.ID)
	if err != nil || got.Status != job.Completed {
		t.Errorf("after the restart: %+v, %v", got, err)
	}
	if !h.store.Has(j.ImageID) {
		t.Error("its set is not published")
	}
	for h.spooled(t) > 0 { // its source is deleted after the end
		time.Sleep(time.Millisecond) // the test's time limit ends this
	}
}

func TestSourceThatNoJobNeedsIsSweptAtTheStart(t *testing.T) {
	dir := t.TempDir()
	h := newFixture(t, dir, nil)
	upload, err := h.spool.Receive(strings.NewReader(gif), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := upload.Keep(); err != nil { // then a power cut, before Put
		t.Fatal(err)
	}
	h.stop()
	if h = newFixture(t, dir, nil); h.spooled(t) != 0 {
		t.Error("it is still there")
	}
}

func TestTemporaryFailureEndsAWaitingClientsJobAndDelaysAnAnnouncedOne(t *testing.T) {
	for want, cause := range map[fault.Code]error{
		fault.InsufficientStorage: fault.New(fault.InsufficientStorage, "The disk is full."),
		fault.Internal:            &codec.Unavailable{Cause: errors.New("fork: resource temporarily unavailable")},
	} {
		h := newFixture(t, t.TempDir(), func(context.Context, int64) error { return cause })
		j := h.submit(t, gif).Ticket.Wait(t.Context())
		if j.Status != job.Failed || j.Error.Code != want {
			t.Errorf("%s: a waiting client gets %s, %+v", want, j.Status, j.Error)
		}

		promised := make(chan struct{})
		h = newFixture(t, t.TempDir(), func(_ context.Context, run int64) error {
			<-promised
			if run == 1 {
				return cause
			}
			return nil
		})
		ticket := h.submit(t, gif).Ticket
		ticket.Announce()
		close(promised)
		if j := ticket.Wait(t.Context()); j.Status != job.Completed || j.Attempts != 2 {
			t.Errorf("%s: a promised job is %s after %d attempts", want, j.Status, j.Attempts)
		}
	}
}

func TestFile(t *testing.T) {
	h := newFixture(t, t.TempDir(), nil)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cat := write("cat.gif", gif)
	for i, want := range []bool{true, false} {
		made, m, err := h.renderer.File(t.Context(), cat, ladder.DefaultConfig().Recipe(), 1<<20)
		if err != nil || made != want || m.Source.Filename != "cat.gif" {
			t.Errorf("run %d: made %v, %+v, %v", i, made, m.Source, err)
		}
	}
	for path, want := range map[string]fault.Code{
		filepath.Join(dir, "missing"): fault.NotFound,
		write("text.jpg", "hello"):    fault.UnsupportedFormat,
		write("empty.jpg", ""):        fault.UnsupportedFormat,
		dir:                           fault.InvalidRequest,
	} {
		if _, _, err := h.renderer.File(t.Context(), path, ladder.DefaultConfig().Recipe(), 1<<20); fault.CodeOf(err) != want {
			t.Errorf("%s: got %v, want %s", filepath.Base(path), err, want)
		}
	}
	if _, _, err := h.renderer.File(t.Context(), cat, ladder.DefaultConfig().Recipe(), 10); fault.CodeOf(err) != fault.TooLarge {
		t.Errorf("over the limit: got %v", err)
	}
}

var _ codec.Engine = (*engine)(nil)
