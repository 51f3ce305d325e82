package imaging

import (
	"context"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// TestMain looks for leaks after all tests of the package.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := settledMemory(); left.Bytes != 0 || left.Allocations != 0 {
		fmt.Fprintf(os.Stderr, "libvips still holds %d bytes in %d pieces after the last test\n", left.Bytes, left.Allocations)
		code = 1
	}
	os.Exit(code)
}

func TestStart(t *testing.T) {
	if _, err := Start(Config{}); err == nil {
		t.Error("no error for no threads")
	}
	v := engine().Versions()
	if v.Bimg == "" || v.Libvips == "" {
		t.Errorf("versions %+v", v)
	}
	if want := []string{"jpeg", "png", "webp", "gif", "heic", "avif", "tiff"}; !slices.Equal(v.Inputs, want) {
		t.Errorf("inputs %v, want %v", v.Inputs, want)
	}
	if want := []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF}; !slices.Equal(v.Outputs, want) {
		t.Errorf("outputs %v, want %v", v.Outputs, want)
	}
}

// settledMemory is libvips' account once its own threads have put their work
// away, which they may do a little after its result is there.
func settledMemory() MemoryInfo {
	var m MemoryInfo
	await(func() bool {
		m = Memory()
		return m.Bytes == 0 && m.Allocations == 0
	})
	return m
}

// await polls a condition that threads of others will meet, and gives up after
// a time that is only for failures.
func await(condition func() bool) {
	for limit := time.Now().Add(time.Minute); !condition() && time.Now().Before(limit); {
		time.Sleep(5 * time.Millisecond)
	}
}

// renderWith renders a photo for a collector whose funcs interfere.
func renderWith(ctx context.Context, t *testing.T, c *collector) error {
	t.Helper()
	f, err := os.Open(sample(t, "northern_cardinal_bird.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = engine().Render(ctx, f, recipe(defaultFormats, 320, 480, 640, 960), generous, c)
	return err
}

func TestRenderEndsWhenItIsCanceled(t *testing.T) {
	before := runtime.NumGoroutine()
	for what, c := range map[string]*collector{"before": nil, "opened": {}, "variant": {}} {
		ctx, cancel := context.WithCancel(context.Background())
		stop := func() error { cancel(); return nil }
		switch what {
		case "before":
			c = new(collector)
			cancel()
		case "opened":
			c.open = stop
		case "variant":
			c.variant = stop
		}
		if err := renderWith(ctx, t, c); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		if len(c.files) > 1 {
			t.Errorf("%s: %d files after the end", what, len(c.files))
		}
		cancel()
	}
	checkIdle(t, before)
}

func TestSinkErrorEndsTheWork(t *testing.T) {
	before := runtime.NumGoroutine()
	full := errors.New("no room")
	calls := 0
	for what, c := range map[string]*collector{
		"opened":  {open: func() error { return full }},
		"variant": {variant: func() error { calls++; return full }},
	} {
		if err := renderWith(context.Background(), t, c); !errors.Is(err, full) {
			t.Errorf("%s: %v", what, err)
		}
		if len(c.files) != 0 {
			t.Errorf("%s: %d files", what, len(c.files))
		}
	}
	if calls != 1 {
		t.Errorf("the sink was called %d times", calls)
	}
	checkIdle(t, before)
}

// checkIdle fails unless nothing of a render is left.
func checkIdle(t *testing.T, goroutines int) {
	t.Helper()
	if m := settledMemory(); m.Bytes != 0 || m.Allocations != 0 {
		t.Errorf("libvips has %d bytes allocated in %d pieces", m.Bytes, m.Allocations)
	}
	var n int
	await(func() bool { // one that has done its work may still be ending
		n = runtime.NumGoroutine()
		return n <= goroutines
	})
	if n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
}

func TestSinkIsCalledOneAtATime(t *testing.T) {
	var inside sync.Mutex
	c := &collector{variant: func() error {
		if !inside.TryLock() {
			return errors.New("two calls at once")
		}
		defer inside.Unlock()
		for range 100 {
			runtime.Gosched() // others may call now
		}
		return nil
	}}
	if err := renderWith(context.Background(), t, c); err != nil {
		t.Error(err)
	}
}

func TestRendersAtOnce(t *testing.T) {
	paths := []string{
		sample(t, "test.jpg"),
		sample(t, "transparent.png"),
		gifOf(t, 64, []color.RGBA{red, green, blue}, []int{5, 5, 5}, 0),
		file(t, "bad.png", read(t, sample(t, "test.png"))[:5000]),
	}
	var all sync.WaitGroup
	for range 3 {
		for i, path := range paths {
			all.Go(func() {
				_, _, err := tryRender(t, path, recipe(defaultFormats, 50, 120), generous)
				if (err != nil) != (i == 3) {
					t.Errorf("%s: %v", path, err)
				}
			})
		}
	}
	all.Wait()
}

func TestRenderLeaksNothing(t *testing.T) {
	dir := t.TempDir()
	small := dir + "/small.jpg"
	run(t, "vipsthumbnail", sample(t, "exif/Landscape_6.jpg"), "--size", "200", "-o", small)
	whole := read(t, small)
	type source struct {
		path   string
		limits ladder.Limits
		fails  bool
	}
	sources := []source{
		{small, generous, false},
		{sample(t, "transparent.png"), generous, false},
		{gifOf(t, 40, []color.RGBA{red, green, blue}, []int{5, 5, 5}, 0), generous, false},
		{file(t, "half.jpg", whole[:len(whole)/2]), generous, true},
		{file(t, "start.jpg", whole[:40]), generous, true},
		{file(t, "half.png", read(t, sample(t, "transparent.png"))[:9000]), generous, true},
		{small, ladder.Limits{MaxPixels: 1, MaxFrames: 1}, true},
		{small, ladder.Limits{MaxPixels: 1e9, MaxFrames: 1}, true}, // no memory
		{file(t, "text", []byte("no picture at all")), generous, true},
	}
	round := func() {
		for _, s := range sources {
			_, _, err := tryRender(t, s.path, recipe(defaultFormats, 30, 70), s.limits)
			if (err != nil) != s.fails {
				t.Fatalf("%s: %v", s.path, err)
			}
		}
	}
	for range 5 {
		round()
	}
	resident := residentBytes(t)
	for range 20 {
		round()
	}
	if m := settledMemory(); m.Bytes != 0 || m.Allocations != 0 {
		t.Errorf("libvips has %d bytes allocated in %d pieces", m.Bytes, m.Allocations)
	}
	if grown := residentBytes(t) - resident; grown > 12<<20 {
		t.Errorf("the process has grown by %d MB over 180 renders", grown>>20)
	}
	if err := lastError().Error(); err != "" {
		t.Errorf("libvips still has the error %q", err)
	}
}

// residentBytes is the memory of this process that is in RAM.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	var pages, resident int64
	if _, err := fmt.Sscan(string(read(t, "/proc/self/statm")), &pages, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// TestPeakMemory renders the largest photo in a process of its own, with the
// setting of malloc that a codec process runs with.
func TestPeakMemory(t *testing.T) {
	const inChild = "IMAGING_TEST_PEAK_MEMORY"
	if os.Getenv(inChild) != "" {
		one, err := Start(Config{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(sample(t, "vertical.jpg"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := one.Render(t.Context(), f, ladder.DefaultConfig().Recipe(), generous, discard{}); err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Println("peak", strings.Fields(peak)[0])
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPeakMemory$")
	cmd.Env = append(os.Environ(), inChild+"=1", "MALLOC_ARENA_MAX=1")
	// The kernel's account of an ended child begins with its parent's memory, so
	// the child tells its own.
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var peak int // kB
	if _, err := fmt.Sscanf(string(out), "peak %d", &peak); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if most := 150 << 10; peak > most {
		t.Errorf("peak of %d MB, more than %d", peak>>10, most>>10)
	}
}

type discard struct{}

func (discard) Opened(ladder.Source) error { return nil }

func (discard) Variant(_ ladder.Variant, body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}
