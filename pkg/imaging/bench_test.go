package imaging

import (
	"context"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/h2non/bimg"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// BenchmarkLadder makes the default ladder of a few photos with the engine, on
// one thread, and with one call of bimg for each file, in the same iteration,
// so that both see the same machine. The seconds are CPU time of the process.
func BenchmarkLadder(b *testing.B) {
	for _, name := range []string{"vertical.jpg", "test_exif_full.jpg", "test_exif.jpg", "northern_cardinal_bird.jpg"} {
		b.Run(name, func(b *testing.B) { benchmarkLadder(b, sample(b, name)) })
	}
}

func benchmarkLadder(b *testing.B, path string) {
	one, err := Start(Config{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	r := ladder.DefaultConfig().Recipe()
	plan := planOf(b, one, path, r)
	var ratios []float64
	var ours, theirs time.Duration
	var ourBytes, theirBytes int64
	for b.Loop() {
		var made []ladder.Variant
		took := cpuTime(func() { made = renderForBench(b, one, path, r) })
		var plainly map[string]int
		tookBimg := cpuTime(func() { plainly = bimgLadder(b, source, plan) })
		ourBytes, theirBytes = 0, 0
		for _, v := range made { // what the engine leaves out is not compared
			ourBytes += v.Bytes
			theirBytes += int64(plainly[v.Name()])
		}
		ours += took
		theirs += tookBimg
		ratios = append(ratios, took.Seconds()/tookBimg.Seconds())
	}
	slices.Sort(ratios)
	n := float64(len(ratios))
	b.ReportMetric(ours.Seconds()/n, "cpu-s/ladder")
	b.ReportMetric(theirs.Seconds()/n, "cpu-s/bimg")
	b.ReportMetric(ratios[len(ratios)/2], "cpu-ratio")
	b.ReportMetric(float64(ourBytes), "bytes/ladder")
	b.ReportMetric(float64(theirBytes), "bytes/bimg")
	b.ReportMetric(float64(ourBytes)/float64(theirBytes), "bytes-ratio")
}

func renderForBench(b *testing.B, e *Engine, path string, r ladder.Recipe) []ladder.Variant {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	c := new(collector)
	if _, err := e.Render(context.Background(), f, r, generous, c); err != nil {
		b.Fatal(err)
	}
	return c.order
}

func planOf(b *testing.B, e *Engine, path string, r ladder.Recipe) []ladder.Variant {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	_, h, err := e.probe(f)
	if err != nil {
		b.Fatal(err)
	}
	source := h.source()
	return r.Plan(source.Width, source.Height).Variants
}

// bimgLadder makes the same files the plain way and gives their bytes.
func bimgLadder(b *testing.B, source []byte, variants []ladder.Variant) map[string]int {
	types := map[ladder.Format]bimg.ImageType{ladder.WebP: bimg.WEBP, ladder.JPEG: bimg.JPEG}
	sizes := make(map[string]int)
	for _, v := range variants {
		out, err := bimg.NewImage(source).Process(bimg.Options{
			Width:         v.Width,
			Type:          types[v.Format],
			Quality:       80,
			Interlace:     v.Format == ladder.JPEG,
			StripMetadata: true,
		})
		if err != nil {
			b.Fatal(err)
		}
		sizes[v.Name()] = len(out)
	}
	return sizes
}

// cpuTime is what f takes of all cores together.
func cpuTime(f func()) time.Duration {
	runtime.GC() // what came before is not f's
	start := processTime()
	f()
	return processTime() - start
}

func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
