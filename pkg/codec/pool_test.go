package codec_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	zapobserver "go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/leaktest"
)

// The test binary is its own child: started under the codec's name it serves
// puppet, an engine that does what its source tells it to.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "optimizerd-codec" {
		goleak.VerifyTestMain(leaktest.Settle(m))
	}
	off := os.Args[len(os.Args)-1]
	if err := codec.Serve(startPuppet, strings.Split(off, ",")); err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

// startPuppet has a self-test that dies of what the file named by TMPDIR, which
// children inherit, says.
func startPuppet(test func(part string) bool) (codec.Engine, codec.About, error) {
	about := codec.About{Version: "1.2.3", Libvips: "none", Vector: os.Getenv("VIPS_NOVECTOR") == ""}
	illness, _ := os.ReadFile(os.Getenv("TMPDIR") + "/illness") // none in most tests
	if string(illness) == "slow" {
		for range 6 { // with a sign of life in between, however busy the machine is
			burn(250 * time.Millisecond)
			test("slowly")
		}
	}
	if string(illness) == "busy" {
		burn(3 * time.Second)
	}
	if string(illness) == "stops" {
		_ = os.Remove(os.Getenv("TMPDIR") + "/illness") // of this child alone
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {}
	}
	if string(illness) == "waits" {
		_ = os.Remove(os.Getenv("TMPDIR") + "/illness") // of this child alone
		for _, err := os.Stat(os.Getenv("TMPDIR") + "/go"); err != nil; _, err = os.Stat(os.Getenv("TMPDIR") + "/go") {
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, part := range []string{"read jpeg", "write avif"} {
		switch {
		case !test(part):
			about.Off = append(about.Off, part)
		case string(illness) == part, string(illness) == "vector" && about.Vector:
			_ = syscall.Kill(os.Getpid(), syscall.SIGILL)
			select {}
		}
	}
	return puppet{}, about, nil
}

// puppet makes variants whose bytes are all their width's last digit, unless its
// source, a script, tells it to misbehave.
type puppet struct{}

func (puppet) Render(_ context.Context, src *os.File, recipe ladder.Recipe, _ ladder.Limits, sink ladder.Sink) (summary ladder.Summary, err error) {
	script, err := io.ReadAll(io.NewSectionReader(src, 0, 1<<20))
	if err != nil || string(script) == "early" { // done before it opened anything
		return summary, err
	}
	if err := beforeOpening(string(script)); err != nil {
		return summary, err
	}
	if err := sink.Opened(ladder.Source{Format: "jpeg", Width: 640, Height: 480, Frames: 1}); err != nil {
		return summary, err
	}
	for _, v := range plan(string(script), recipe, sink) {
		body := bytes.Repeat([]byte{byte(v.Width)}, 100_000)
		copy(body, magic[v.Format])
		if string(script) == "masquerade" {
			copy(body, "<svg onload=")
		}
		v.Bytes = int64(len(body))
		if err := sink.Variant(v, bytes.NewReader(body)); err != nil {
			return summary, err
		}
	}
	return ladder.Summary{Color: ladder.RGB{1, 2, 3}, ThumbHash: []byte{1}}, nil
}

// renders is how many the puppet has begun.
var renders int

// beforeOpening does what a script says about the time before the header of the
// source was read. Its error is a fault of the source.
func beforeOpening(script string) error {
	if fd, ok := strings.CutPrefix(script, "descriptor "); ok {
		return closed(fd)
	}
	renders++
	if script == "too much" || script == "much" && renders > 1 {
		return fault.New(fault.Unavailable, "The process has too little memory left for this image.")
	}
	switch script {
	case "corrupt":
		return fault.Wrap(fault.CorruptImage, errors.New("row 7"), "The JPEG image is damaged: its header cannot be read.")
	case "large":
		return fault.New(fault.TooManyFrames, "The animation has 7 frames; the limit is 5.")
	case "chatty":
		return fault.New(fault.TooManyFrames, "%s", "<img src=x onerror=alert(1)>\u202egnp.exe /etc/passwd "+strings.Repeat("A", 50_000))
	case "no memory":
		return fault.New(fault.ProcessingFailed, "Decoding this JPEG image exceeded the memory limit.")
	case "panic":
		panic("puppet")
	case "hang":
		select {}
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {} // the signal may take a moment
	case "mine": // what it was asked for, and then on and on
		go mine()
	case "doze": // after a little more work
		go func() {
			burn(1500 * time.Millisecond)
			_ = os.WriteFile(os.Getenv("TMPDIR")+"/rest", nil, 0o600)
		}()
	}
	return nil
}

// closed returns a fault if the descriptor is open.
func closed(fd string) error {
	if n, err := strconv.Atoi(fd); err != nil || unix.Fstat(n, new(unix.Stat_t)) == nil {
		return fault.New(fault.CorruptImage, "The descriptor is open.")
	}
	return nil
}

// mine uses the CPU without end.
func mine() {
	for block := []byte("block"); ; {
		sum := sha256.Sum256(block)
		block = sum[:]
	}
}

// plan returns the variants to send: those of the recipe, or what a script makes of
// them. It sends the first one itself if that is to break off or never to end.
func plan(script string, recipe ladder.Recipe, sink ladder.Sink) []ladder.Variant {
	variants := recipe.Plan(640, 480).Variants
	switch script {
	case "die half-way":
		variants[2].Bytes = 1000
		_ = sink.Variant(variants[2], io.MultiReader(strings.NewReader(magic[variants[2].Format]+"only a little"), dead{}))
	case "unplanned":
		variants[0].Width = 641
	case "disk":
		variants[0].Bytes = 256 << 20
		_ = sink.Variant(variants[0], io.MultiReader(strings.NewReader(magic[variants[0].Format]), zeros{}))
	case "silent":
		variants = variants[1:]
	}
	return variants
}

// burn uses that much CPU time.
func burn(more time.Duration) {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for began := used(); used() < began+more; {
	}
}

// magic is how a file of each format begins.
var magic = map[ladder.Format]string{ladder.JPEG: "\xff\xd8\xff", ladder.WebP: "RIFF1234WEBP", ladder.AVIF: "1234ftypavif"}

// dead ends the process at the first read.
type dead struct{}

func (dead) Read([]byte) (int, error) {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// zeros is endless.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// basket is a sink that keeps what it gets.
type basket struct {
	source   ladder.Source
	variants map[string][]byte
	err      error // returned from Variant
}

func (b *basket) Opened(s ladder.Source) error {
	b.source, b.variants = s, make(map[string][]byte)
	return nil
}

func (b *basket) Variant(v ladder.Variant, body io.Reader) error {
	if b.err != nil {
		return b.err
	}
	data, err := io.ReadAll(body)
	b.variants[v.Name()] = data
	return err
}

func newPool(t *testing.T, change func(*codec.Config)) *codec.Pool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := codec.DefaultConfig()
	c.Path, c.Processes, c.Threads, c.Version = self, 1, 1, "1.2.3"
	if change != nil {
		change(&c)
	}
	p, err := codec.NewPool(t.Context(), c, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func source(t *testing.T, script string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

var recipe = ladder.DefaultConfig().Recipe()

func TestLadderComesThroughTheWallWhole(t *testing.T) {
	p := newPool(t, nil)
	for range 3 { // by one and the same child
		var b basket
		summary, err := p.Render(t.Context(), source(t, "ok"), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &b)
		if err != nil {
			t.Fatal(err)
		}
		if b.source.Width != 640 || summary.Color != (ladder.RGB{1, 2, 3}) || len(b.variants) != 6 {
			t.Errorf("source %+v, summary %+v, %d variants", b.source, summary, len(b.variants))
		}
		for name, data := range b.variants {
			if len(data) != 100_000 {
				t.Errorf("%s has %d bytes", name, len(data))
			}
		}
	}
	if got := p.Stats(); got.Started != 1 || got.Crashed != 0 {
		t.Errorf("stats %+v, want one child", got)
	}
}

// A header over a limit is no decoder's failure.
func TestChildIsReplacedAfterADecoderFailed(t *testing.T) {
	p := newPool(t, nil)
	for i, test := range []struct {
		script   string
		code     fault.Code
		detail   string
		children int64
	}{
		{"large", fault.TooManyFrames, "The animation has 7 frames; the limit is 5.", 1},
		{"chatty", fault.TooManyFrames, "The animation has too many frames.", 1},
		{"corrupt", fault.CorruptImage, "The JPEG image is damaged: its header cannot be read.", 1},
		{"corrupt", fault.CorruptImage, "The JPEG image is damaged: its header cannot be read.", 2},
		{"large", fault.TooManyFrames, "The animation has 7 frames; the limit is 5.", 3},
	} {
		_, err := p.Render(t.Context(), source(t, test.script), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{})
		if f := fault.From(err); f.Code != test.code || f.Detail != test.detail {
			t.Fatalf("%d, %s: got %.200v", i, test.script, err)
		}
		if test.script == "corrupt" && !strings.Contains(err.Error(), "row 7") {
			t.Errorf("the cause is lost: %v", err)
		}
		if got := p.Stats(); got.Started != test.children || got.Crashed != 0 {
			t.Errorf("%d, %s: %+v, want %d children and no crash", i, test.script, got, test.children)
		}
	}
}

func TestChildThatDiesInAnyWayIsACrashAndTheNextJobWorks(t *testing.T) {
	patient := newPool(t, nil)
	for script, reason := range map[string]string{
		"panic":        "ended (exit status 2)",
		"die half-way": "ended (signal: killed)",
		"hang":         "exceeded codec.timeout (5s)",
		"stop":         "exceeded codec.timeout (5s)",
		"no memory":    "Decoding this JPEG image exceeded the memory limit.",
		"disk":         `unplanned variant "320.webp" of 268435456 bytes`,
		"masquerade":   "320.webp does not start with its format's signature",
		"early":        "unexpected message",
		"unplanned":    `unplanned variant "641.webp" of 100000 bytes`,
		"silent":       "neither variant nor omission of 320.webp",
	} {
		t.Run(script, func(t *testing.T) {
			p := patient
			if script == "hang" || script == "stop" {
				t.Parallel()
				p = newPool(t, func(c *codec.Config) { c.Timeout = 5 * time.Second })
			}
			_, err := p.Render(t.Context(), source(t, script), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{})
			var crash *codec.Crash
			if !errors.As(err, &crash) || crash.Reason != reason {
				t.Errorf("got %v, want a crash because %s", err, reason)
			}
			var b basket
			if _, err := p.Render(t.Context(), source(t, "ok"), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &b); err != nil || len(b.variants) != 6 {
				t.Errorf("after it: %d variants, %v", len(b.variants), err)
			}
		})
	}
}

func TestSinkThatFailsEndsTheWork(t *testing.T) {
	p := newPool(t, nil)
	full := fault.New(fault.InsufficientStorage, "The disk is full.")
	_, err := p.Render(t.Context(), source(t, "ok"), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{err: full})
	if !errors.Is(err, full) {
		t.Errorf("got %v, want the sink's error", err)
	}
	if _, err := p.Render(t.Context(), source(t, "ok"), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{}); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestCancelKillsTheChildInUse(t *testing.T) {
	p := newPool(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := p.Render(ctx, source(t, "hang"), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{})
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if got := p.Stats().Crashed; got != 0 {
		t.Errorf("%d crashes counted, want none", got)
	}
}

func TestJobsShareTheChildren(t *testing.T) {
	p := newPool(t, func(c *codec.Config) { c.Processes = 2 })
	var group sync.WaitGroup
	for range 10 {
		src := source(t, "ok")
		group.Go(func() {
			if _, err := p.Render(t.Context(), src, recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := p.Stats().Started; got > 2 {
		t.Errorf("%d children were started, want at most 2", got)
	}
}

// A child that is idle works before another one is started.
func TestPoolStartsOneChildForOneImageAtATime(t *testing.T) {
	p := newPool(t, func(c *codec.Config) { c.Processes = 3 })
	for range 5 {
		if _, err := p.Render(t.Context(), source(t, "ok"), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.Stats(); got.Started != 1 {
		t.Errorf("started %d children", got.Started)
	}
}

// Earlier images have left it too little memory. That is no crash, and not the image's
// fault, unless a fresh child says the same.
func TestChildWithoutRoomForAnImageIsReplaced(t *testing.T) {
	p := newPool(t, nil)
	for i, started := range []int64{1, 2, 3} {
		if _, err := p.Render(t.Context(), source(t, "much"), recipe, wide, &basket{}); err != nil {
			t.Fatal(err)
		}
		if got := p.Stats(); got.Started != started || got.Crashed != 0 {
			t.Errorf("image %d: %+v, want %d children and no crash", i, got, started)
		}
	}
	var crash *codec.Crash
	if _, err := p.Render(t.Context(), source(t, "too much"), recipe, wide, &basket{}); !errors.As(err, &crash) {
		t.Errorf("got %v, want a crash", err)
	}
	if _, err := p.Render(t.Context(), source(t, "ok"), recipe, wide, &basket{}); err != nil {
		t.Error(err)
	}
	if got := p.Stats().Started; got != 5 {
		t.Errorf("%d children were started, want a fresh one for each of the last two", got)
	}
}

func TestChildOfAnotherBuildIsRefused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := codec.DefaultConfig()
	c.Path, c.Version = self, "9.9.9"
	_, err = codec.NewPool(t.Context(), c, zaptest.NewLogger(t))
	if err == nil || !strings.Contains(err.Error(), "install both binaries from one build") {
		t.Errorf("got %v", err)
	}
}

func TestMissingProgramIsNamedWithItsKey(t *testing.T) {
	_, err := codec.Find("/nowhere/optimizerd-codec")
	if err == nil || !strings.Contains(err.Error(), "codec.path") {
		t.Errorf("got %v", err)
	}
}

func TestChildIsReplacedAfterItsJobs(t *testing.T) {
	p := newPool(t, func(c *codec.Config) { c.MaxJobs = 2 })
	for range 4 {
		if _, err := p.Render(t.Context(), source(t, "ok"), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.Stats(); got.Started != 2 || got.Crashed != 0 {
		t.Errorf("%+v, want two children and no crash", got)
	}
}

func TestLastTryIsInAFreshChildAndAlone(t *testing.T) {
	p := newPool(t, func(c *codec.Config) { c.Processes = 2 })
	if _, err := p.Alone().Render(t.Context(), source(t, "ok"), recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{}); err != nil {
		t.Fatal(err)
	}
	if got := p.Stats().Started; got != 2 {
		t.Errorf("%d children were started, want the first and a fresh one", got)
	}
	var group sync.WaitGroup // all places are free again
	for range 4 {
		src := source(t, "ok")
		group.Go(func() {
			if _, err := p.Render(t.Context(), src, recipe, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}, &basket{}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestFormatOfWhichTheSelfTestDiesIsSwitchedOff(t *testing.T) {
	for illness, want := range map[string]struct {
		off    []string
		vector bool
	}{
		"write avif": {[]string{"write avif"}, true}, // vector code was suspected, and found innocent
		"vector":     {nil, false},
		"":           {nil, true},
	} {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		if err := os.WriteFile(dir+"/illness", []byte(illness), 0o600); err != nil {
			t.Fatal(err)
		}
		about := newPool(t, nil).About()
		if !slices.Equal(about.Off, want.off) || about.Vector != want.vector {
			t.Errorf("ill of %q: off %v, vector %v; want %+v", illness, about.Off, about.Vector, want)
		}
	}
}

func TestChildThatStartsSlowlyIsWaitedForAndOneThatHangsIsNot(t *testing.T) {
	before := codec.HangAfter(2 * time.Second)
	defer codec.HangAfter(before)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for illness, want := range map[string]int{"busy": 0, "stops": 1} {
		if err := os.WriteFile(dir+"/illness", []byte(illness), 0o600); err != nil {
			t.Fatal(err)
		}
		core, seen := zapobserver.New(zap.WarnLevel)
		self, _ := os.Executable()
		c := codec.DefaultConfig()
		c.Path, c.Processes, c.Threads, c.Version = self, 1, 1, "1.2.3"
		p, err := codec.NewPool(t.Context(), c, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		if given := seen.FilterMessage("codec died before its greeting, starting another").Len(); given != want {
			t.Errorf("%s: %d children were abandoned, want %d: %v", illness, given, want, seen.All())
		}
	}
}
