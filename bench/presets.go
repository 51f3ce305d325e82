package main

import (
	"context"
	"slices"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// effortResult is WebP's effort 2 to effort 4, for the whole ladder of a photo.
type effortResult struct {
	Photo string
	CPU   spread
	WebP  ratioTo
}

// avifResult is AVIF to WebP at one width, both with their defaults.
type avifResult struct {
	Width      int
	CPU        spread // ratio of the encoders alone; over the photos
	CPUSeconds spread // of the encoder of AVIF; over the photos
	Bytes      spread // ratio; over the photos
	Distance   map[string]float64
}

// efforts measures two daemons that differ in WebP's effort alone.
func (b *bench) efforts(ctx context.Context) error {
	four, err := b.daemon(ctx, oneProcess, oneThread)
	if err != nil {
		return err
	}
	defer four.stop()
	two, err := b.daemon(ctx, oneProcess, oneThread, effort2)
	if err != nil {
		return err
	}
	defer two.stop()
	for _, d := range []*daemon{four, two} {
		if err := b.warm(ctx, four, d); err != nil {
			return err
		}
	}
	for _, p := range b.photos {
		plan, err := four.plan(ctx, p)
		if err != nil {
			return err
		}
		cpu := make(map[*daemon][]float64)
		folder := make(map[*daemon]string)
		pair := []*daemon{four, two}
		for round := range b.rounds {
			b.progress("effort: %s, round %d", p.name, round+1)
			for _, d := range pair {
				r, err := d.render(ctx, p, plan)
				if err != nil {
					return err
				}
				cpu[d] = append(cpu[d], r.cpu)
				folder[d] = r.folder
			}
			slices.Reverse(pair)
		}
		both := only(kept(kept(plan, folder[four]), folder[two]), ladder.WebP)
		seen := map[*daemon]*sample{four: {}, two: {}}
		for d, s := range seen {
			if err := b.look(ctx, s, p, folder[d], both, qualityWidths); err != nil {
				return err
			}
		}
		b.results.Effort = append(b.results.Effort, effortResult{p.name, spreadOf(ratios(cpu[two], cpu[four])), seen[two].to(seen[four])})
	}
	return nil
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
				widths[i], spreadOf(r.cpu), spreadOf(r.seconds), spreadOf(ratios(r.avif.bytes, r.webp.bytes)), r.avif.to(&r.webp).Distance,
			})
		}
	}
	return nil
}
