package main

import (
	"context"
	"slices"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// effortResult is the ladder with less effort to the usual one, for one photo.
type effortResult struct {
	Photo   string
	CPU     spread  // of the whole ladder
	CPUWebP spread  // of a ladder without JPEG
	Bytes   float64 // of all files, those of that and JPEG's
	WebP    ratioTo // of the files of that
	JPEG    ratioTo // bytes alone: the pixels are the same
	Left    [2]int  // WebP files that the whole ladder leaves out as no smaller than JPEG: usually, with less effort
}

// avifResult is AVIF to WebP at one width, both with their defaults.
type avifResult struct {
	Width      int
	CPU        spread // ratio of the encoders alone; over the photos
	CPUSeconds spread // of the encoder of AVIF; over the photos
	Bytes      spread // ratio; over the photos
	Distance   map[string]float64
}

// pair is two daemons that differ in the encoders' effort alone.
type pair struct{ usual, fast *daemon }

func (b *bench) pair(ctx context.Context, settings ...string) (p pair, stop func(), err error) {
	settings = append(settings, oneProcess, oneThread)
	if p.usual, err = b.daemon(ctx, settings...); err != nil {
		return p, nil, err
	}
	if p.fast, err = b.daemon(ctx, append(settings, lessEffort...)...); err != nil {
		p.usual.stop()
		return p, nil, err
	}
	stop = func() {
		p.usual.stop()
		p.fast.stop()
	}
	for _, d := range []*daemon{p.usual, p.fast} {
		if err := b.warm(ctx, p.usual, d); err != nil {
			stop()
			return p, nil, err
		}
	}
	return p, stop, nil
}

// compare has both make the ladder of a photo, round by round, and gives the
// ratios of their CPU times and the folders of the last two sets.
func (b *bench) compare(ctx context.Context, p pair, photo photo) (cpu spread, usual, fast string, err error) {
	seconds := make(map[*daemon][]float64)
	folder := make(map[*daemon]string)
	order := []*daemon{p.usual, p.fast}
	for range b.rounds {
		for _, d := range order {
			r, err := d.render(ctx, photo, nil)
			if err != nil {
				return cpu, "", "", err
			}
			seconds[d] = append(seconds[d], r.cpu)
			folder[d] = r.folder
		}
		slices.Reverse(order)
	}
	return spreadOf(ratios(seconds[p.fast], seconds[p.usual])), folder[p.usual], folder[p.fast], nil
}

// efforts measures the whole ladder, and one of WebP alone: beside JPEG, files
// are left out that are no smaller than it, and so cannot be compared.
func (b *bench) efforts(ctx context.Context) error {
	whole, stop, err := b.pair(ctx)
	if err != nil {
		return err
	}
	defer stop()
	alone, stop, err := b.pair(ctx, webpAlone)
	if err != nil {
		return err
	}
	defer stop()
	for _, p := range b.photos {
		b.progress("effort: %s", p.name)
		result := effortResult{Photo: p.name}
		var usual, fast string
		if result.CPU, usual, fast, err = b.compare(ctx, whole, p); err != nil {
			return err
		}
		plan, err := alone.usual.plan(ctx, p)
		if err != nil {
			return err
		}
		result.Left = [2]int{len(plan) - len(kept(plan, usual)), len(plan) - len(kept(plan, fast))}
		var jpegs []contest.Variant
		for _, v := range plan {
			jpegs = append(jpegs, variant(ladder.JPEG, v.Width))
		}
		jpegBefore, jpegAfter, err := b.lookAtBoth(ctx, p, usual, fast, jpegs, nil)
		if err != nil {
			return err
		}
		if result.CPUWebP, usual, fast, err = b.compare(ctx, alone, p); err != nil {
			return err
		}
		before, after, err := b.lookAtBoth(ctx, p, usual, fast, plan, qualityWidths)
		if err != nil {
			return err
		}
		result.WebP, result.JPEG = after.to(before), jpegAfter.to(jpegBefore)
		result.Bytes = (after.bytes[0] + jpegAfter.bytes[0]) / (before.bytes[0] + jpegBefore.bytes[0])
		b.results.Effort = append(b.results.Effort, result)
	}
	return nil
}

// lookAtBoth sees the same variants of one photo in two folders.
func (b *bench) lookAtBoth(ctx context.Context, p photo, usual, fast string, variants []contest.Variant, widths []int) (before, after sample, err error) {
	if err := b.look(ctx, &before, p, usual, variants, widths); err != nil {
		return before, after, err
	}
	err = b.look(ctx, &after, p, fast, variants, widths)
	return before, after, err
}

// avif has the floor encode every rung in WebP and in AVIF, once: how much more
// AVIF takes is far beyond what a round differs from the next. A width is
// measured with the photos that reach it.
func (b *bench) avif(ctx context.Context) error {
	c, err := b.peer(ctx, floor)
	if err != nil {
		return err
	}
	defer c.stop()
	b.results.about(c.about)
	type rung struct {
		seconds, cpu []float64
		webp, avif   sample
	}
	widths := ladder.DefaultConfig().Widths
	rungs := make([]rung, len(widths))
	for _, p := range b.photos {
		whole, err := b.whole(ctx, p)
		if err != nil {
			return err
		}
		width, _, err := size(ctx, whole)
		if err != nil {
			return err
		}
		for i, w := range widths {
			if w > width {
				continue
			}
			b.progress("avif: %s, %d px", p.name, w)
			webp, avif := variant(ladder.WebP, w), variant(ladder.AVIF, w)
			r, err := c.render(ctx, p, []contest.Variant{webp, avif})
			if err != nil {
				return err
			}
			seconds := r.parts.Encode[avif.Name]
			rungs[i].seconds = append(rungs[i].seconds, seconds)
			rungs[i].cpu = append(rungs[i].cpu, seconds/r.parts.Encode[webp.Name])
			for v, s := range map[contest.Variant]*sample{webp: &rungs[i].webp, avif: &rungs[i].avif} {
				if err := b.look(ctx, s, p, r.folder, []contest.Variant{v}, widths); err != nil {
					return err
				}
			}
		}
	}
	for i, r := range rungs {
		if len(r.cpu) > 0 {
			b.results.AVIF = append(b.results.AVIF, avifResult{
				widths[i], spreadOf(r.cpu), spreadOf(r.seconds), spreadOf(ratios(r.avif.bytes, r.webp.bytes)), r.avif.to(r.webp).Distance,
			})
		}
	}
	return nil
}
