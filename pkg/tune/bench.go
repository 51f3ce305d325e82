// Package tune measures this machine with real codec processes: ladders per
// minute, memory, and the cost and savings of the WebP and AVIF efforts.
// Propose turns the results into settings.
//
// It writes nothing to disk: encoded files are counted and discarded.
package tune

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Options configure a measurement.
type Options struct {
	Codec    codec.Config
	Ladder   ladder.Config
	Limits   ladder.Limits
	Reserved Reserved
	Images   []File // at least one
	Log      *zap.Logger
	All      bool               // also measure efforts that cost many times the lowest
	Progress func(done, of int) // called after each step; may be nil
}

// File is an input image. It is opened once per ladder, so that concurrent
// processes do not share a file offset.
type File struct{ Name, Path string }

// Report is the result of a measurement.
type Report struct {
	Cores      int          `json:"cores"`
	Memory     int64        `json:"memory"`              // bytes; 0 if unknown
	Automatic  int          `json:"automatic_processes"` // as many as codec.processes: 0 is here
	Libvips    string       `json:"libvips"`
	Images     []Image      `json:"pictures"`
	Throughput []Throughput `json:"throughput"`
	Efforts    []Effort     `json:"efforts"` // by format, ascending
	Proposal   Proposal     `json:"proposal"`
}

// Image describes an input image.
type Image struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

// Throughput is the result for the configured ladder with a number of processes
// and threads.
type Throughput struct {
	Processes        int     `json:"processes"`
	Threads          int     `json:"threads"`
	LaddersPerMinute float64 `json:"ladders_per_minute"`
	CPUSeconds       float64 `json:"cpu_seconds"` // CPU time of the codec per ladder
	Peak             int64   `json:"peak"`        // RSS of the largest codec process, bytes
}

// Effort is the result for the configured widths in one format and effort, for
// all images together.
type Effort struct {
	Format     ladder.Format `json:"format"`
	Effort     int           `json:"effort"`
	CPUSeconds float64       `json:"cpu_seconds"`
	Bytes      int64         `json:"bytes"`    // total size of the files
	TooSlow    bool          `json:"too_slow"` // an image exceeded codec.timeout; higher efforts were skipped
}

// formats are those whose efforts are measured, in this order.
var formats = []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF}

// bench is a running measurement.
type bench struct {
	Options
	idle time.Duration // CPU time of a codec process that renders nothing
	done int
	of   int
}

// Run measures. It takes minutes on a small machine.
func Run(ctx context.Context, o Options) (Report, error) {
	b := bench{Options: o}
	r := Report{Cores: runtime.GOMAXPROCS(0), Memory: codec.AvailableMemory(), Automatic: codec.Config{Memory: o.Codec.Memory}.Sized().Processes}
	about, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	r.Libvips = about.Libvips
	candidates := candidates(r.Cores, codec.Fit(r.Memory, o.Codec.Memory))
	b.of = len(candidates)
	for _, f := range formats {
		if slices.Contains(about.Outputs, f) {
			b.of += len(ladder.Efforts(f))
		}
	}
	if r.Images, err = b.probe(ctx); err != nil {
		return r, err
	}
	for _, c := range candidates {
		t, err := b.throughput(ctx, c.processes, c.threads)
		if err != nil {
			return r, err
		}
		r.Throughput = append(r.Throughput, t)
	}
	for _, f := range formats {
		if !slices.Contains(about.Outputs, f) {
			continue
		}
		rows, err := b.tryEfforts(ctx, f)
		if err != nil {
			return r, err
		}
		r.Efforts = append(r.Efforts, rows...)
	}
	r.Proposal = Propose(r, o.Reserved)
	return r, nil
}

// setup is a number of processes, and of threads per process.
type setup struct{ processes, threads int }

// candidates returns the setups to try on a number of cores, with memory for at
// most fit processes: one thread first, then all cores in different ways.
func candidates(cores, fit int) []setup {
	all := []setup{{1, 1}, {1, cores}, {max(1, cores/2), cores}, {cores, 1}}
	var some []setup
	for _, s := range all {
		if (s.processes == 1 || s.processes <= fit) && !slices.Contains(some, s) {
			some = append(some, s)
		}
	}
	return some
}

// start queries the codec and measures the CPU time of an idle process.
func (b *bench) start(ctx context.Context) (codec.About, error) {
	pool, err := codec.NewPool(ctx, b.Codec, b.Log)
	if err != nil {
		return codec.About{}, err
	}
	about := pool.About()
	pool.Close()
	b.idle = pool.Usage().CPU
	return about, b.Ladder.CheckWritable(about.Outputs)
}

// probe renders each image once at a small size, so that an unreadable one
// fails before the long part.
func (b *bench) probe(ctx context.Context) ([]Image, error) {
	pool, err := codec.NewPool(ctx, b.Codec, b.Log)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	var images []Image
	for _, f := range b.Images {
		c, err := b.render(ctx, pool, f, b.Ladder.Single(ladder.Box{Width: 64}, ladder.JPEG))
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(f.Path)
		if err != nil {
			return nil, err
		}
		images = append(images, Image{f.Name, info.Size(), c.source.Width, c.source.Height})
	}
	return images, nil
}

func (b *bench) render(ctx context.Context, pool *codec.Pool, f File, recipe ladder.Recipe) (c counter, err error) {
	src, err := os.Open(f.Path)
	if err != nil {
		return c, err
	}
	defer src.Close()
	if _, err := pool.Render(ctx, src, recipe, b.Limits, &c); err != nil {
		return c, fmt.Errorf("%s: %w", f.Name, err)
	}
	return c, nil
}

// cost is the total cost of a number of ladders.
type cost struct {
	wall, cpu time.Duration
	peak      int64
	bytes     int64
}

// measure renders the ladder of each image, rounds times, with fresh processes.
func (b *bench) measure(ctx context.Context, s setup, recipe ladder.Recipe, rounds int) (cost, error) {
	c := b.Codec
	c.Processes, c.Threads = s.processes, s.threads
	pool, err := codec.NewPool(ctx, c, b.Log)
	if err != nil {
		return cost{}, err
	}
	var bytes atomic.Int64
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pool.Size())
	for range rounds {
		for _, f := range b.Images {
			group.Go(func() error {
				c, err := b.render(ctx, pool, f, recipe)
				bytes.Add(c.bytes)
				return err
			})
		}
	}
	err = group.Wait()
	wall := time.Since(began)
	pool.Close()
	used := pool.Usage()
	cpu := max(time.Millisecond, used.CPU-b.idle*time.Duration(pool.Stats().Started)) // startup time varies
	b.step()
	return cost{wall, cpu, used.Peak, bytes.Load()}, err
}

func (b *bench) step() {
	b.done++
	if b.Progress != nil {
		b.Progress(b.done, b.of)
	}
}

// throughput measures the configured ladder. Every process gets at least two
// images, to reduce the weight of startup and of the end, when not all are
// busy.
func (b *bench) throughput(ctx context.Context, processes, threads int) (Throughput, error) {
	rounds := (2*processes-1)/len(b.Images) + 1
	c, err := b.measure(ctx, setup{processes, threads}, b.Ladder.Recipe(), rounds)
	ladders := rounds * len(b.Images)
	return Throughput{
		Processes: processes, Threads: threads,
		LaddersPerMinute: float64(ladders) / c.wall.Minutes(),
		CPUSeconds:       c.cpu.Seconds() / float64(ladders),
		Peak:             c.peak,
	}, err
}

// maxCostFactor is the highest cost of an effort, relative to the lowest one,
// for higher efforts to be tried: it would have to save a fifth of the bytes to
// be proposed.
const maxCostFactor = 10

// tryEfforts measures the efforts of a format in ascending order, until one
// exceeds codec.timeout.
func (b *bench) tryEfforts(ctx context.Context, f ladder.Format) (rows []Effort, err error) {
	l := b.Ladder
	l.Formats, l.FormatWidths = []ladder.Format{f}, ladder.FormatWidths{}
	efforts := ladder.Efforts(f)
	for i, effort := range efforts {
		l.Effort = ladder.Effort{WebP: effort, JPEG: effort, AVIF: effort}
		c, err := b.measure(ctx, setup{1, runtime.GOMAXPROCS(0)}, l.Recipe(), 1)
		var late *codec.Crash
		switch {
		case errors.As(err, &late):
			b.of -= len(efforts) - 1 - i
			return append(rows, Effort{Format: f, Effort: effort, TooSlow: true}), nil
		case err != nil:
			return nil, err
		}
		rows = append(rows, Effort{Format: f, Effort: effort, CPUSeconds: c.cpu.Seconds(), Bytes: c.bytes})
		if !b.All && c.cpu.Seconds() > maxCostFactor*rows[0].CPUSeconds {
			b.of -= len(efforts) - 1 - i
			return rows, nil
		}
	}
	return rows, nil
}

// counter is a sink that counts bytes and discards them.
type counter struct {
	source ladder.Source
	bytes  int64
}

func (c *counter) Opened(s ladder.Source) error {
	c.source = s
	return nil
}

func (c *counter) Variant(_ ladder.Variant, body io.Reader) error {
	n, err := io.Copy(io.Discard, body)
	c.bytes += n
	return err
}
