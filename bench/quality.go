package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// qualityRow is our bytes to another encoder's at equal distance.
type qualityRow struct {
	Format     ladder.Format
	Contestant string
	Ratio      map[string]mean               // by metric; over the photos
	Photos     map[string]map[string]float64 // by photo and metric; over the widths
}

// mean is a geometric mean and the extremes.
type mean struct{ Mean, Min, Max float64 }

func meanOf(values []float64) mean {
	return mean{geometric(values), slices.Min(values), slices.Max(values)}
}

// String has as many digits as a ratio of bytes needs.
func (m mean) String() string { return fmt.Sprintf("%.3f (%.2f–%.2f)", m.Mean, m.Min, m.Max) }

// qualityWidths are those at which every variant is looked at, and
// curveQualities the qualities of the others' files.
var (
	qualityWidths  = []int{640, 1280}
	curveQualities = []int{70, 80, 90}
)

// rivals are the contestants for each format. The floor's JPEGs are what
// libvips makes with the tables of Annex K, from pixels like ours.
var rivals = []struct {
	format ladder.Format
	names  []string
}{
	{ladder.WebP, []string{bimg, sharp}},
	{ladder.JPEG, []string{floor, bimg, sharp, mozjpeg}},
}

// quality compares the files of our default ladder with what the others take
// for files as good as them.
func (b *bench) quality(ctx context.Context) error {
	d, err := b.daemon(ctx, oneProcess)
	if err != nil {
		return err
	}
	defer d.stop()
	peers := make(map[string]*peer)
	for _, name := range []string{floor, bimg, sharp, mozjpeg} {
		p, err := b.peer(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer p.stop()
		peers[name] = p
		b.results.about(p.about)
	}
	found := make(comparisons)
	for _, p := range b.photos {
		m, err := d.upload(ctx, p)
		if err != nil {
			return err
		}
		for _, v := range m.Variants {
			if !slices.Contains(qualityWidths, v.Width) {
				continue
			}
			own, err := b.look(ctx, p, filepath.Join(d.set(m.ID), v.Name()))
			if err != nil {
				return err
			}
			if err := b.against(ctx, found, peers, p, v.Format, v.Width, own); err != nil {
				return err
			}
		}
	}
	for _, rival := range rivals {
		for _, name := range rival.names {
			if at := found[rivalry{rival.format, name}]; at != nil {
				b.results.Quality = append(b.results.Quality, rowOf(rival.format, name, at))
			}
		}
	}
	return nil
}

// rivalry is a format and the name of another program that writes it.
type rivalry struct {
	format ladder.Format
	name   string
}

// comparisons are the ratios of bytes by photo, for each width.
type comparisons map[rivalry]map[string][]map[string]float64

// against adds the ratios of one of our files to the other programs' files of its
// format.
func (b *bench) against(ctx context.Context, found comparisons, peers map[string]*peer, p photo, format ladder.Format, width int, own point) error {
	for _, rival := range rivals {
		if rival.format != format {
			continue
		}
		for _, name := range rival.names {
			b.progress("quality: %s, %s at %d px, %s", p.name, format, width, name)
			theirs, _, err := b.curve(ctx, peers[name], p, variant(format, width), curveQualities)
			if err != nil {
				return err
			}
			k := rivalry{format, name}
			if found[k] == nil {
				found[k] = make(map[string][]map[string]float64)
			}
			found[k][p.name] = append(found[k][p.name], own.equalBytes(theirs))
		}
	}
	return nil
}

// rowOf takes the means, first over the widths of each photo.
func rowOf(format ladder.Format, name string, found map[string][]map[string]float64) qualityRow {
	row := qualityRow{format, name, make(map[string]mean), make(map[string]map[string]float64)}
	over := make(map[string][]float64)
	for photo, widths := range found {
		row.Photos[photo] = means(widths)
		for metric, ratio := range row.Photos[photo] {
			over[metric] = append(over[metric], ratio)
		}
	}
	for metric, ratios := range over {
		row.Ratio[metric] = meanOf(ratios)
	}
	return row
}

// means are the geometric means by metric.
func means(ratios []map[string]float64) map[string]float64 {
	all := make(map[string][]float64)
	for _, r := range ratios {
		for metric, ratio := range r {
			all[metric] = append(all[metric], ratio)
		}
	}
	means := make(map[string]float64)
	for metric := range all {
		means[metric] = geometric(all[metric])
	}
	return means
}

// curve has a peer make one variant at several qualities. It also returns what
// each took, if the peer says so.
func (b *bench) curve(ctx context.Context, c *peer, p photo, v contest.Variant, qualities []int) (points curve, seconds []float64, err error) {
	var variants []contest.Variant
	for _, q := range qualities {
		at := v
		at.Quality, at.Name = q, fmt.Sprintf("%d-%s", q, v.Name)
		variants = append(variants, at)
	}
	r, err := c.render(ctx, p, variants)
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(r.folder)
	for _, v := range variants {
		at, err := b.look(ctx, p, filepath.Join(r.folder, v.Name))
		if err != nil {
			return nil, nil, err
		}
		at.Quality = v.Quality
		points = append(points, at)
		if r.parts != nil {
			seconds = append(seconds, r.parts.Encode[v.Name])
		}
	}
	return points, seconds, nil
}
