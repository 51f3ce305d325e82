// Package bench measures what this machine makes of images, through the real
// codec processes: ladders a minute, memory, and what the efforts of WebP and
// AVIF cost and save. Propose turns that into settings.
//
// It writes nothing to any disk: the files of the ladders are counted and
// dropped.
package bench

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
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Options are what to measure.
type Options struct {
	Config   config.Config
	Images   []File // at least one
	Log      *zap.Logger
	All      bool               // go on to efforts that cost many times the lowest
	Progress func(done, of int) // called after each step; may be nil
}

// File is a picture to measure with, which is opened anew for each ladder:
// processes that work at once must not memoryShare their place in it.
type File struct{ Name, Path string }

// Report is what was measured.
type Report struct {
	Cores      int          `json:"cores"`
	Memory     int64        `json:"memory"` // bytes; 0 if it cannot be known
	Libvips    string       `json:"libvips"`
	Images     []Image      `json:"pictures"`
	Throughput []Throughput `json:"throughput"`
	Efforts    []Effort     `json:"efforts"` // by format, ascending
	Proposal   Proposal     `json:"proposal"`
}

// Picture is one that was measured with.
type Image struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

// Throughput is what the configured ladder takes with so many processes and
// threads.
type Throughput struct {
	Processes        int     `json:"processes"`
	Threads          int     `json:"threads"`
	LaddersPerMinute float64 `json:"ladders_per_minute"`
	CPUSeconds       float64 `json:"cpu_seconds"` // of the codec, for one ladder
	Peak             int64   `json:"peak"`        // of the largest codec process, bytes
}

// Effort is what the configured widths take in one format alone, for all
// images together.
type Effort struct {
	Format     ladder.Format `json:"format"`
	Effort     int           `json:"effort"`
	CPUSeconds float64       `json:"cpu_seconds"`
	Bytes      int64         `json:"bytes"`    // of the files
	TooSlow    bool          `json:"too_slow"` // a picture took longer than codec.timeout: higher ones were not tried
}

// efforts are the highest that each format has.
var efforts = []struct {
	format ladder.Format
	most   int
}{{ladder.WebP, 6}, {ladder.JPEG, 1}, {ladder.AVIF, 8}}

// bench is a measurement on its way.
type bench struct {
	Options
	idle time.Duration // processor time of a codec process that does nothing
	done int
	of   int
}

// Run measures, which takes minutes on a small machine.
func Run(ctx context.Context, o Options) (Report, error) {
	b := bench{Options: o}
	r := Report{Cores: runtime.GOMAXPROCS(0), Memory: codec.AvailableMemory()}
	about, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	r.Libvips = about.Libvips
	candidates := candidates(r.Cores, codec.Fit(r.Memory, o.Config.CodecConfig().Memory))
	b.of = len(candidates)
	for _, e := range efforts {
		if slices.Contains(about.Outputs, e.format) {
			b.of += e.most + 1
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
	for _, e := range efforts {
		if !slices.Contains(about.Outputs, e.format) {
			continue
		}
		rows, err := b.tryEfforts(ctx, e.format, e.most)
		if err != nil {
			return r, err
		}
		r.Efforts = append(r.Efforts, rows...)
	}
	r.Proposal = Propose(r)
	return r, nil
}

// setup is a number of processes, and of threads in each.
type setup struct{ processes, threads int }

// candidates are the setups that are tried on so many cores, with memory for at
// most fit processes: first one thread, then all cores in different ways.
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

// start learns of the codec, and what a process takes that does nothing else.
func (b *bench) start(ctx context.Context) (codec.About, error) {
	pool, err := codec.NewPool(ctx, b.Config.CodecConfig(), b.Log)
	if err != nil {
		return codec.About{}, err
	}
	about := pool.About()
	pool.Close()
	b.idle = pool.Usage().CPU
	for _, f := range b.Config.Ladder.Formats {
		if !slices.Contains(about.Outputs, f) {
			return about, fmt.Errorf("ladder.formats: %v is configured, but libvips %s on this machine writes only %v", b.Config.Ladder.Formats, about.Libvips, about.Outputs)
		}
	}
	return about, nil
}

// look has each picture made small once: one that cannot be read is told of
// before the long part.
func (b *bench) probe(ctx context.Context) ([]Image, error) {
	pool, err := codec.NewPool(ctx, b.Config.CodecConfig(), b.Log)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	var images []Image
	for _, f := range b.Images {
		c, err := b.render(ctx, pool, f, b.Config.Ladder.Single(ladder.Box{Width: 64}, ladder.JPEG))
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
	if _, err := pool.Render(ctx, src, recipe, b.Config.LadderLimits(), &c); err != nil {
		return c, fmt.Errorf("%s: %w", f.Name, err)
	}
	return c, nil
}

// cost is what a number of ladders took.
type cost struct {
	wall, cpu time.Duration
	peak      int64
	bytes     int64
}

// measure makes the ladder of each picture, rounds times, with fresh processes.
func (b *bench) measure(ctx context.Context, s setup, recipe ladder.Recipe, rounds int) (cost, error) {
	c := b.Config.CodecConfig()
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
	cpu := max(time.Millisecond, used.CPU-b.idle*time.Duration(pool.Stats().Started)) // one start differs from another
	b.step()
	return cost{wall, cpu, used.Peak, bytes.Load()}, err
}

func (b *bench) step() {
	b.done++
	if b.Progress != nil {
		b.Progress(b.done, b.of)
	}
}

// throughput measures the configured ladder. Every process gets two images
// at least, so that starting it and the end, when not all are busy, count less.
func (b *bench) throughput(ctx context.Context, processes, threads int) (Throughput, error) {
	rounds := (2*processes-1)/len(b.Images) + 1
	c, err := b.measure(ctx, setup{processes, threads}, b.Config.Ladder.Recipe(), rounds)
	ladders := rounds * len(b.Images)
	return Throughput{
		Processes: processes, Threads: threads,
		LaddersPerMinute: float64(ladders) / c.wall.Minutes(),
		CPUSeconds:       c.cpu.Seconds() / float64(ladders),
		Peak:             c.peak,
	}, err
}

// maxCostFactor is how many times the lowest effort one may cost for a higher one to
// be tried: it would have to save a fifth of the bytes to be proposed.
const maxCostFactor = 10

// climb measures the efforts of a format from the lowest on, until one is so
// slow that the daemon would not wait for it.
func (b *bench) tryEfforts(ctx context.Context, f ladder.Format, most int) (rows []Effort, err error) {
	l := b.Config.Ladder
	l.Formats = []ladder.Format{f}
	for effort := range most + 1 {
		l.Effort = ladder.Effort{WebP: effort, JPEG: effort, AVIF: effort}
		c, err := b.measure(ctx, setup{1, runtime.GOMAXPROCS(0)}, l.Recipe(), 1)
		var late *codec.Crash
		switch {
		case errors.As(err, &late):
			b.of -= most - effort
			return append(rows, Effort{Format: f, Effort: effort, TooSlow: true}), nil
		case err != nil:
			return nil, err
		}
		rows = append(rows, Effort{Format: f, Effort: effort, CPUSeconds: c.cpu.Seconds(), Bytes: c.bytes})
		if !b.All && c.cpu.Seconds() > maxCostFactor*rows[0].CPUSeconds {
			b.of -= most - effort
			return rows, nil
		}
	}
	return rows, nil
}

// counter is a sink that keeps no file.
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
