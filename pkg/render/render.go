// Package render turns one source file into one published set. It is independent
// of the queue, HTTP and the engine: both the command line and package jobs use
// it.
package render

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Renderer turns sources into published sets.
type Renderer struct {
	Engine     codec.Engine
	Background codec.Engine // for jobs that are executed while nothing else waits; nil means Engine
	LastResort codec.Engine // for a source that was in progress when a codec process died
	Sets       Sets
	Limits     ladder.Limits
	Log        *zap.Logger

	Crashes Crashes // nil if no other machine renders the same sources

	History History // of the ladders; if empty, an upload replaces no set

	// NotBefore is the earliest creation time of a set: when this program was built. The
	// clock of a board may be behind for a while after boot, and retention would delete
	// what was dated by it as too old.
	NotBefore time.Time

	files singleflight.Group // calls of File, by id

	KeepTimings bool // in manifests
	KeepTakenAt bool // in manifests: when a photo was taken
}

// Crashes counts how often the codec crashed with a source, on all machines.
type Crashes interface {
	// Before returns the crashes with a source that are known before it is rendered.
	Before(sha256 string) int
	// Crashed durably records another crash, before the next attempt, and returns the
	// total.
	Crashed(sha256, reason string) (int, error)
	// Survived resets the count of a source that was rendered.
	Survived(sha256 string) error
}

// MaxCrashes is the number of crashes with a source after which its job fails.
const MaxCrashes = 2

// Render makes and publishes the set of a job whose source is src. If it has been
// published meanwhile, that set is kept. took must be added to the job's timings.
// Errors are faults, or those of ctx and the disk.
func (r *Renderer) Render(ctx context.Context, src *os.File, j job.Job) (made manifest.Manifest, took ladder.Timings, err error) {
	return r.render(ctx, source{File: src}, j)
}

// render is Render. It publishes nothing from a source that has changed.
func (r *Renderer) render(ctx context.Context, src source, j job.Job) (made manifest.Manifest, took ladder.Timings, err error) {
	crashes, engine := 0, r.Engine
	if j.Background && r.Background != nil {
		engine = r.Background
	}
	if r.Crashes != nil {
		crashes = r.Crashes.Before(j.Source.SHA256)
	}
	for {
		if crashes > 0 {
			engine = r.LastResort
		}
		made, took, err = r.attempt(ctx, engine, src, j)
		var crash *codec.Crash
		if !errors.As(err, &crash) {
			if err == nil && crashes > 0 {
				r.clearCrashes(j)
			}
			return made, took, err
		}
		if crashes = r.countCrash(j, crash, crashes); crashes >= MaxCrashes {
			return made, took, fault.Wrap(fault.ProcessingFailed, crash, "The image could not be processed: the codec process failed twice.")
		}
		r.Log.Warn("codec crashed, retrying in isolation", zap.String("image_id", j.ImageID), zap.Error(crash))
	}
}

// countCrash records a crash and returns the number of crashes with the source.
func (r *Renderer) countCrash(j job.Job, crash *codec.Crash, before int) int {
	if r.Crashes == nil {
		return before + 1
	}
	n, err := r.Crashes.Crashed(j.Source.SHA256, crash.Reason)
	if err != nil {
		r.Log.Warn("cannot record that the codec crashed", zap.String("image_id", j.ImageID), zap.Error(err))
	}
	return max(n, before+1)
}

func (r *Renderer) clearCrashes(j job.Job) {
	if r.Crashes == nil {
		return
	}
	if err := r.Crashes.Survived(j.Source.SHA256); err != nil {
		r.Log.Warn("cannot clear the record of a crash", zap.String("image_id", j.ImageID), zap.Error(err))
	}
}

// attempt makes the set of a job once.
func (r *Renderer) attempt(ctx context.Context, engine codec.Engine, src source, j job.Job) (made manifest.Manifest, took ladder.Timings, err error) {
	set, err := r.Sets.Begin(ctx, j.ImageID)
	if err != nil {
		return made, nil, err
	}
	if made, took, err = r.renderInto(ctx, set, engine, src, j); err != nil {
		set.Abort()
	}
	return made, took, err
}

// renderInto renders a source into a set and publishes that.
func (r *Renderer) renderInto(ctx context.Context, set Set, engine codec.Engine, src source, j job.Job) (made manifest.Manifest, took ladder.Timings, err error) {
	out := sink{Set: set}
	began := time.Now()
	summary, err := engine.Render(codec.Named(ctx, j.ID), src.File, j.Recipe, r.Limits, &out)
	if err = src.check(err); err != nil {
		return made, nil, err
	}
	took = summary.Timings.Plus(ladder.Timings{ladder.StageCodec: time.Since(began)})
	if j.Recipe.Single() && len(set.Variants()) == 0 {
		return made, nil, tooLarge(j.Recipe.Plan(out.source.Width, out.source.Height).Rungs[0], j.Recipe.Encoders[0].Format)
	}
	made = out.manifest(j, summary, r.date(time.Now()))
	made.Replaces = r.replaced(j)
	if r.KeepTakenAt {
		made.Source.TakenAt = out.source.TakenAt
	}
	if r.KeepTimings {
		made.Timings = j.Timings.Plus(took).Plus(set.Timings()).Milliseconds()
	}
	if made, err = set.Commit(made, Origin{Path: src.Name(), Parent: j.Parent()}); err != nil {
		return made, nil, short(err, bytesOf(set.Variants()))
	}
	took = took.Plus(set.Timings())
	r.Log.Info("published", zap.String("image_id", j.ImageID), zap.String("result", "made"), zap.String("filename", j.Source.Filename),
		zap.Int64("bytes_in", j.Source.Bytes), zap.Int64("bytes_out", bytesOf(set.Variants())), zap.Duration("took", time.Since(began)), zap.Duration("engine", took[ladder.StageCodec]),
		zap.String("format", made.Source.Format), zap.Int("width", made.Width), zap.Int("height", made.Height), zap.Int("variants", len(made.Variants)),
		zap.String("job_id", j.ID), zap.String("request_id", j.RequestID))
	return made, took, nil
}

func tooLarge(r ladder.Rung, f ladder.Format) *fault.Error {
	return fault.New(fault.InvalidOptions, "The image would be %d × %d pixels, but a side in %s is at most %d; request a smaller width or height.",
		r.Width, r.Height, f, f.MaxSide())
}

// sink is a set with the description of its source.
type sink struct {
	Set
	source ladder.Source
}

func (out *sink) Opened(s ladder.Source) error {
	out.source = s
	return nil
}

// manifest returns the manifest of the staged variants, in the order of the
// plan.
func (out *sink) manifest(j job.Job, summary ladder.Summary, now time.Time) manifest.Manifest {
	plan := j.Recipe.Plan(out.source.Width, out.source.Height)
	rank := func(f ladder.Format, width int) int {
		format := slices.IndexFunc(j.Recipe.Encoders, func(e ladder.Encoder) bool { return e.Format == f })
		return format<<32 + width
	}
	omitted := slices.Concat(plan.Omitted, summary.Omitted)
	slices.SortFunc(omitted, func(a, b ladder.Omission) int { return rank(a.Format, a.Width) - rank(b.Format, b.Width) })
	variants := append([]manifest.Variant{}, out.Variants()...) // never null
	slices.SortFunc(variants, func(a, b manifest.Variant) int { return rank(a.Format, a.Width) - rank(b.Format, b.Width) })
	if omitted == nil {
		omitted = []ladder.Omission{}
	}
	return manifest.Manifest{
		Version:   manifest.Version,
		ID:        j.ImageID,
		CreatedAt: strictjson.At(now),
		Recipe:    j.Recipe.ShortFingerprint(),
		Source: manifest.Source{
			SHA256: j.Source.SHA256, Filename: j.Source.Filename, Format: out.source.Format, Bytes: j.Source.Bytes,
			Width: out.source.Width, Height: out.source.Height, Frames: out.source.Frames,
		},
		Width: out.source.Width, Height: out.source.Height,
		Placeholder: manifest.Placeholder{ThumbHash: summary.ThumbHash, Color: summary.Color.String()},
		Variants:    variants,
		Omitted:     omitted,
		Srcset:      manifest.Srcset(variants),
	}
}

// date returns the creation time of a set that is made now.
func (r *Renderer) date(now time.Time) time.Time {
	if now.Before(r.NotBefore) {
		return r.NotBefore
	}
	return now
}

// replaced returns the id of the set that a job replaces, "" if none: that of a
// stored image whose ladder is made again, or the one that an earlier ladder made
// from the same source. A single variant replaces nothing.
func (r *Renderer) replaced(j job.Job) string {
	id, ok := job.ImageInput(j.Input)
	switch {
	case j.Recipe.Single() || id == j.ImageID:
		return ""
	case ok:
		return id
	default:
		return r.History.predecessor(j.Recipe, j.Source.SHA256, r.Sets.Has)
	}
}
