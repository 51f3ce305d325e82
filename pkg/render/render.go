// Package render turns one source file into one published set. It knows neither
// the queue nor HTTP, nor how an engine works: both the command line and package
// jobs use it.
package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/imagefile"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/timestamp"
)

// Renderer turns sources into published sets.
type Renderer struct {
	Engine     codec.Engine
	LastResort codec.Engine // for a source that was in progress when a codec process died
	Store      *publish.Store
	Limits     ladder.Limits
	Log        *zap.Logger

	KeepTimings bool // in manifests
}

// Render makes and publishes the set of a job whose source is src, unless it is
// published already. took adds to the job's timings. Errors are faults, or those
// of ctx and the disk.
func (r *Renderer) Render(ctx context.Context, src *os.File, j job.Job) (made manifest.Manifest, took ladder.Timings, err error) {
	if r.Store.Has(j.ImageID) {
		made, err = r.Store.Get(j.ImageID)
		return made, nil, err
	}
	made, took, err = r.attempt(ctx, r.Engine, src, j)
	var crash *codec.Crash
	if !errors.As(err, &crash) {
		return made, took, err
	}
	r.Log.Warn("codec crashed, retrying in isolation", zap.String("image_id", j.ImageID), zap.Error(crash))
	made, took, err = r.attempt(ctx, r.LastResort, src, j)
	if errors.As(err, &crash) {
		err = fault.Wrap(fault.ProcessingFailed, crash, "The image could not be processed: the codec process failed twice.")
	}
	return made, took, err
}

func (r *Renderer) attempt(ctx context.Context, engine codec.Engine, src *os.File, j job.Job) (made manifest.Manifest, took ladder.Timings, err error) {
	set, err := r.Store.Begin(j.ImageID)
	if err != nil {
		return made, nil, err
	}
	defer set.Abort()
	c := collector{set: set}
	began := time.Now()
	summary, err := engine.Render(ctx, src, j.Recipe, r.Limits, &c)
	if err != nil {
		return made, nil, err
	}
	took = summary.Timings.Plus(ladder.Timings{ladder.StageCodec: time.Since(began)})
	if j.Recipe.Single() && len(c.variants) == 0 {
		return made, nil, tooLarge(j.Recipe.Plan(c.source.Width, c.source.Height).Rungs[0], j.Recipe.Encoders[0].Format)
	}
	made = c.manifest(j, summary, time.Now())
	if r.KeepTimings {
		made.Timings = j.Timings.Plus(took).Plus(set.Timings).Milliseconds()
	}
	set.SetOriginal(src.Name())
	if err := set.Commit(made); err != nil {
		return made, nil, err
	}
	took = took.Plus(set.Timings)
	r.Log.Info("published", zap.String("image_id", j.ImageID), zap.String("format", made.Source.Format),
		zap.Int("width", made.Width), zap.Int("height", made.Height), zap.Int("variants", len(made.Variants)),
		zap.Int64("bytes_in", j.Source.Bytes), zap.Int64("bytes_out", c.bytes),
		zap.Duration("engine", took[ladder.StageCodec]), zap.Duration("took", time.Since(began)))
	return made, took, nil
}

func tooLarge(r ladder.Rung, f ladder.Format) *fault.Error {
	return fault.New(fault.InvalidOptions, "The image would be %d × %d pixels, but a side in %s is at most %d; request a smaller width or height.",
		r.Width, r.Height, f, f.MaxSide())
}

// collector is a sink that fills a set.
type collector struct {
	set      *publish.Set
	source   ladder.Source
	variants []manifest.Variant
	bytes    int64
}

func (c *collector) Opened(s ladder.Source) error {
	c.source = s
	return nil
}

func (c *collector) Variant(v ladder.Variant, body io.Reader) error {
	described, err := c.set.Add(v, body)
	c.variants = append(c.variants, described)
	c.bytes += described.Bytes
	return err
}

// manifest returns the manifest of the collected variants, in the order of the
// plan.
func (c *collector) manifest(j job.Job, summary ladder.Summary, now time.Time) manifest.Manifest {
	plan := j.Recipe.Plan(c.source.Width, c.source.Height)
	place := func(f ladder.Format, width int) int {
		format := slices.IndexFunc(j.Recipe.Encoders, func(e ladder.Encoder) bool { return e.Format == f })
		return format<<32 + width
	}
	omitted := slices.Concat(plan.Omitted, summary.Omitted)
	slices.SortFunc(omitted, func(a, b ladder.Omission) int { return place(a.Format, a.Width) - place(b.Format, b.Width) })
	slices.SortFunc(c.variants, func(a, b manifest.Variant) int { return place(a.Format, a.Width) - place(b.Format, b.Width) })
	if omitted == nil {
		omitted = []ladder.Omission{}
	}
	return manifest.Manifest{
		Version:   manifest.Version,
		ID:        j.ImageID,
		CreatedAt: timestamp.At(now),
		Recipe:    j.Recipe.ShortFingerprint(),
		Source: manifest.Source{
			SHA256: j.Source.SHA256, Filename: j.Source.Filename, Format: c.source.Format, Bytes: j.Source.Bytes,
			Width: c.source.Width, Height: c.source.Height, Frames: c.source.Frames,
		},
		Width: c.source.Width, Height: c.source.Height,
		Placeholder: manifest.Placeholder{ThumbHash: summary.ThumbHash, Color: summary.Color.String()},
		Variants:    append([]manifest.Variant{}, c.variants...), // never null
		Omitted:     omitted,
		Srcset:      manifest.Srcset(c.variants),
	}
}

// File makes the set of a local file of at most maxBytes. made is false if the
// set already existed.
func (r *Renderer) File(ctx context.Context, path string, recipe ladder.Recipe, maxBytes int64) (made bool, set manifest.Manifest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, set, fault.Wrap(fault.NotFound, err, "Cannot open the file: %v.", errors.Unwrap(err))
	}
	defer f.Close()
	hash := sha256.New()
	head := new(prefix)
	took := make(ladder.Timings)
	n, err := io.Copy(io.MultiWriter(took.Writer(ladder.StageHash, hash), head), io.LimitReader(f, maxBytes+1))
	switch {
	case err != nil:
		return false, set, fault.Wrap(fault.InvalidRequest, err, "Cannot read the file: %v.", errors.Unwrap(err))
	case n == 0:
		return false, set, fault.New(fault.UnsupportedFormat, "The file is empty.")
	case n > maxBytes:
		return false, set, fault.New(fault.TooLarge, "The file is larger than limits.max_bytes (%d).", maxBytes)
	}
	if _, ok := imagefile.Sniff(*head); !ok {
		return false, set, fault.New(fault.UnsupportedFormat, "The file is not an image in a supported format.")
	}
	var digest [sha256.Size]byte
	hash.Sum(digest[:0])
	id := recipe.ID(digest)
	there := r.Store.Has(id)
	source := job.Source{SHA256: hex.EncodeToString(digest[:]), Filename: filepath.Base(path), Bytes: n}
	set, _, err = r.Render(ctx, f, job.Job{Source: source, Recipe: recipe, ImageID: id, Timings: took})
	return !there && err == nil, set, err
}

// prefix stores the first bytes written to it.
type prefix []byte

func (p *prefix) Write(b []byte) (int, error) {
	*p = append(*p, b[:min(len(b), imagefile.HeadSize-len(*p))]...)
	return len(b), nil
}
