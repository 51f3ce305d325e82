package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// effortResult is the ladder with less effort to the usual one, for one photo.
type effortResult struct {
	Photo   string
	CPU     spread             // of the whole ladder
	CPUWebP spread             // of a ladder without JPEG
	Bytes   float64            // of all files of both formats
	WebP    map[string]float64 // bytes at equal distance, by metric
	JPEG    float64            // bytes: the pixels are the same
	Left    [2]int             // WebP files that the whole ladder leaves out as no smaller than JPEG: usually, with less effort
}

// avifResult is AVIF to WebP (quality 80, effort 4) at one width and effort.
type avifResult struct {
	Width, Effort int
	CPU           spread            // ratio of the encoders alone; over the photos
	Bytes         map[string]mean   // ratio at equal distance, by metric; over the photos
	Quality       map[string]spread // of AVIF, that gives the distance of WebP; over the photos
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
	encoder, err := b.peer(ctx, floor)
	if err != nil {
		return err
	}
	defer encoder.stop()
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
		result.Left = [2]int{missing(plan, usual), missing(plan, fast)}
		var jpegs []contest.Variant
		for _, v := range plan {
			jpegs = append(jpegs, variant(ladder.JPEG, v.Width))
		}
		jpegBefore, jpegAfter, err := sizes(jpegs, usual, fast)
		if err != nil {
			return err
		}
		if result.CPUWebP, usual, fast, err = b.compare(ctx, alone, p); err != nil {
			return err
		}
		before, after, err := sizes(plan, usual, fast)
		if err != nil {
			return err
		}
		if result.WebP, err = b.lessWebP(ctx, encoder, p, plan); err != nil {
			return err
		}
		result.JPEG, result.Bytes = jpegAfter/jpegBefore, (after+jpegAfter)/(before+jpegBefore)
		b.results.Effort = append(b.results.Effort, result)
	}
	return nil
}

// missing is how many of the variants are not in a folder.
func missing(plan []contest.Variant, folder string) (n int) {
	for _, v := range plan {
		if _, err := os.Stat(filepath.Join(folder, v.Name)); err != nil {
			n++
		}
	}
	return n
}

// sizes are the bytes of the same variants of one photo in two folders.
func sizes(variants []contest.Variant, usual, fast string) (before, after float64, err error) {
	for folder, total := range map[string]*float64{usual: &before, fast: &after} {
		for _, v := range variants {
			info, err := os.Stat(filepath.Join(folder, v.Name))
			if err != nil {
				return 0, 0, err
			}
			*total += float64(info.Size())
		}
	}
	return before, after, nil
}

// lessWebP is what WebP with less effort takes to the usual one at equal
// distance, both from the same pixels.
func (b *bench) lessWebP(ctx context.Context, encoder *peer, p photo, plan []contest.Variant) (map[string]float64, error) {
	var found []map[string]float64
	for _, usual := range plan {
		if !slices.Contains(qualityWidths, usual.Width) {
			continue
		}
		less := usual
		less.Effort = lessEffortWebP
		curve4, _, err := b.curve(ctx, encoder, p, usual, curveQualities)
		if err != nil {
			return nil, err
		}
		one, _, err := b.curve(ctx, encoder, p, less, []int{usual.Quality})
		if err != nil {
			return nil, err
		}
		found = append(found, one[0].equalBytes(curve4))
	}
	return means(found), nil
}

// What AVIF is measured at. Its qualities have those that look like WebP's 80
// between them.
var (
	avifWidths    = []int{320, 640, 1280, 2048}
	avifEfforts   = []int{0, 2}
	avifQualities = []int{55, 67, 80}
)

// avif has the floor encode each photo in WebP and in AVIF: how much AVIF takes
// differs by far more than a round from the next. A width is measured with the
// photos that reach it.
func (b *bench) avif(ctx context.Context) error {
	c, err := b.peer(ctx, floor)
	if err != nil {
		return err
	}
	defer c.stop()
	b.results.about(c.about)
	for _, w := range avifWidths {
		cpu := make(map[int][]float64)
		bytes, quality := make(map[int]map[string][]float64), make(map[int]map[string][]float64)
		for _, effort := range avifEfforts {
			bytes[effort], quality[effort] = make(map[string][]float64), make(map[string][]float64)
		}
		for _, p := range b.photos {
			width, err := b.width(ctx, p)
			if err != nil {
				return err
			}
			if width < w {
				continue
			}
			webp := variant(ladder.WebP, w)
			one, webpSeconds, err := b.curve(ctx, c, p, webp, []int{webp.Quality})
			if err != nil {
				return err
			}
			for _, effort := range avifEfforts {
				b.progress("avif: %s, %d px, effort %d", p.name, w, effort)
				v := variant(ladder.AVIF, w)
				v.Effort = effort
				points, seconds, err := b.curve(ctx, c, p, v, avifQualities)
				if err != nil {
					return err
				}
				cpu[effort] = append(cpu[effort], quantile(seconds, 0.5)/webpSeconds[0])
				for metric, distance := range one[0].Distance {
					bytes[effort][metric] = append(bytes[effort][metric], points.bytesAt(metric, distance)/one[0].Bytes)
					quality[effort][metric] = append(quality[effort][metric], points.qualityAt(metric, distance))
				}
			}
		}
		for _, effort := range avifEfforts {
			if len(cpu[effort]) == 0 {
				continue
			}
			result := avifResult{w, effort, spreadOf(cpu[effort]), make(map[string]mean), make(map[string]spread)}
			for metric := range bytes[effort] {
				result.Bytes[metric], result.Quality[metric] = meanOf(bytes[effort][metric]), spreadOf(quality[effort][metric])
			}
			b.results.AVIF = append(b.results.AVIF, result)
		}
	}
	return nil
}
