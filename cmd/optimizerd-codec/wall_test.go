package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/codec/imaging"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// digests is a sink that keeps what a manifest tells of each file.
type digests map[string]string

func (digests) Opened(ladder.Source) error { return nil }

func (d digests) Variant(v ladder.Variant, body io.Reader) error {
	hash := sha256.New()
	_, err := io.Copy(hash, body)
	d[v.Name()] = fmt.Sprintf("%d bytes %x", v.Bytes, hash.Sum(nil))
	return err
}

// bothSides gives the engine in this process, and that behind the wall in a
// child of the pool, each with one thread.
func bothSides(tb testing.TB) (direct codec.Engine, pool *codec.Pool) {
	tb.Helper()
	path := build(tb)
	engine, err := imaging.Start(imaging.Config{Threads: 1})
	if err != nil {
		tb.Fatal(err)
	}
	c := codec.DefaultConfig()
	c.Path, c.Processes, c.Threads = path, 1, 1
	c.Memory = 384 << 20
	if pool, err = codec.NewPool(tb.Context(), c, zap.NewNop()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return engine, pool
}

// build makes the program, and returns its path.
func build(tb testing.TB) (path string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "optimizerd-codec")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	return path
}

var generous = ladder.Limits{MaxPixels: 1 << 30, MaxFrames: 1000, MaxMemory: 1 << 30}

// ladderOf renders one photo of bimg's, at the default widths or others.
func ladderOf(tb testing.TB, e codec.Engine, path string, widths ...int) digests {
	tb.Helper()
	src, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer src.Close()
	files, config := make(digests), ladder.DefaultConfig()
	if len(widths) > 0 {
		config.Widths = widths
	}
	if _, err := e.Render(context.Background(), src, config.Recipe(), generous, files); err != nil {
		tb.Fatal(err)
	}
	return files
}

func photo(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/h2non/bimg").Output()
	if err != nil {
		tb.Fatalf("go list: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "testdata", name)
}

func TestWallChangesNoByte(t *testing.T) {
	direct, pool := bothSides(t)
	path := photo(t, "test.jpg")
	want, got := ladderOf(t, direct, path, 64, 320), ladderOf(t, pool, path, 64, 320)
	if len(want) == 0 || !maps.Equal(got, want) {
		t.Errorf("through the wall came\n%v\nthe engine makes\n%v", got, want)
	}
}

// BenchmarkWall makes the default ladder of a photo with the engine in this
// process, and through the warm pool, in the same iteration and by turns the
// one or the other first, so that both see the same machine. Seconds are CPU
// time: of the pool, that of parent and child.
//
// The child lowers its priority. On a machine that has other work too, this
// process should do so as well (nice -n 5), or it is disturbed less.
func BenchmarkWall(b *testing.B) {
	for _, name := range []string{"northern_cardinal_bird.jpg", "test_exif.jpg"} {
		b.Run(name, func(b *testing.B) { benchmarkWall(b, photo(b, name)) })
	}
}

func benchmarkWall(b *testing.B, path string) {
	direct, pool := bothSides(b)
	child := theChild(b)
	ladderOf(b, direct, path) // warm
	ladderOf(b, pool, path)
	var ratios, within, beyond []float64
	for b.Loop() {
		var engine, wall cpu
		sides := []func(){
			func() { engine = spent(b, child, func() { ladderOf(b, direct, path) }) },
			func() { wall = spent(b, child, func() { ladderOf(b, pool, path) }) },
		}
		if len(ratios)%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			side()
		}
		if engine.child > time.Millisecond {
			b.Fatalf("the child took %v while the engine ran here", engine.child)
		}
		ratios = append(ratios, (wall.parent+wall.child).Seconds()/engine.parent.Seconds())
		within = append(within, engine.parent.Seconds())
		beyond = append(beyond, wall.parent.Seconds())
	}
	b.ReportMetric(median(ratios), "cpu-ratio")
	b.ReportMetric(median(within), "cpu-s/direct")
	b.ReportMetric(median(beyond), "cpu-s/parent")
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// theChild is the one codec process of this one.
func theChild(b testing.TB) int {
	b.Helper()
	all, err := procfs.AllProcs()
	if err != nil {
		b.Fatal(err)
	}
	var found []int
	for _, p := range all {
		if stat, err := p.Stat(); err == nil && stat.PPID == os.Getpid() && strings.HasPrefix(stat.Comm, "optimizerd") {
			found = append(found, p.PID)
		}
	}
	if len(found) != 1 {
		b.Fatalf("the children are %v, want one", found)
	}
	return found[0]
}

// cpu is processor time, user's and system's.
type cpu struct{ parent, child time.Duration }

// spent is what f takes of both processes.
func spent(b *testing.B, child int, f func()) cpu {
	runtime.GC() // what came before is not f's
	parentBefore, childBefore := clock(b, os.Getpid()), clock(b, child)
	f()
	return cpu{clock(b, os.Getpid()) - parentBefore, clock(b, child) - childBefore}
}

// clock reads the CPU clock of a process: that of all of its threads, also of
// those that have ended, to the nanosecond where /proc has hundredths of a
// second.
func clock(b *testing.B, pid int) time.Duration {
	const sched = 2 // CPUCLOCK_SCHED of the kernel's posix-timers.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}
