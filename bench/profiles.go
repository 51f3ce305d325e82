package main

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// profileResult is a profile to the default one, for one photo.
type profileResult struct {
	Profile, Photo string
	CPU            spread             // of the whole ladder; over the rounds
	Bytes          float64            // of all files
	Loaded         map[string]float64 // bytes that a browser with AVIF loads at profileWidths, at equal distance, by metric
	Fallback       map[string]float64 // the same of a browser with WebP and without AVIF
}

// profileWidths are those at which the files of the profiles differ.
var profileWidths = []int{1280, 2048}

// profiles has daemons with each profile make the ladders, round by round.
func (b *bench) profiles(ctx context.Context) error {
	names := slices.DeleteFunc(ladder.Profiles(), func(name string) bool { return name == ladder.DefaultProfile })
	names = append([]string{ladder.DefaultProfile}, names...)
	daemons := make(map[string]*daemon)
	for _, name := range names {
		d, err := b.daemon(ctx, oneProcess, oneThread, "OPTIMIZERD_LADDER_PROFILE="+name)
		if err != nil {
			return err
		}
		defer d.stop()
		if err := b.warm(ctx, d, d); err != nil {
			return err
		}
		daemons[name] = d
	}
	encoder, err := b.peer(ctx, floor)
	if err != nil {
		return err
	}
	defer encoder.stop()
	for _, p := range b.photos {
		b.progress("profiles: %s", p.name)
		cpu := make(map[string][]float64)
		for range b.rounds {
			for _, name := range names {
				r, err := daemons[name].render(ctx, p, nil)
				if err != nil {
					return err
				}
				cpu[name] = append(cpu[name], r.cpu)
			}
		}
		sets, err := b.sets(ctx, daemons, p)
		if err != nil {
			return err
		}
		usual := sets[ladder.DefaultProfile]
		points, err := b.webpToCompare(ctx, encoder, p, usual)
		if err != nil {
			return err
		}
		for _, name := range names[1:] {
			result := profileResult{
				Profile: name, Photo: p.name, CPU: spreadOf(ratios(cpu[name], cpu[ladder.DefaultProfile])),
				Bytes: total(sets[name]) / total(usual),
			}
			pair := comparison{p, daemons[ladder.DefaultProfile], daemons[name], usual, sets[name], points}
			if result.Loaded, err = b.loaded(ctx, pair, ladder.AVIF); err != nil {
				return err
			}
			if result.Fallback, err = b.loaded(ctx, pair, ladder.WebP); err != nil {
				return err
			}
			b.results.Profiles = append(b.results.Profiles, result)
		}
	}
	return nil
}

// sets are what each daemon makes of a photo.
func (b *bench) sets(ctx context.Context, daemons map[string]*daemon, p photo) (map[string]manifest.Manifest, error) {
	sets := make(map[string]manifest.Manifest)
	for name, d := range daemons {
		m, err := d.upload(ctx, p)
		if err != nil {
			return nil, err
		}
		sets[name] = m
	}
	return sets, nil
}

func total(m manifest.Manifest) (bytes float64) {
	for _, v := range m.Variants {
		bytes += float64(v.Bytes)
	}
	return bytes
}

// chosen is the file that a browser loads at a width, if the best format that it
// accepts is this one.
func chosen(m manifest.Manifest, width int, accepted ladder.Format) (manifest.Variant, bool) {
	for f := accepted; f != ""; f = f.Fallback() {
		for _, v := range m.Variants {
			if v.Width == width && v.Format == f {
				return v, true
			}
		}
	}
	return manifest.Variant{}, false
}

// webpToCompare is what WebP takes for a photo at profileWidths, those that the
// photo reaches.
func (b *bench) webpToCompare(ctx context.Context, encoder *peer, p photo, usual manifest.Manifest) (map[int]curve, error) {
	curves := make(map[int]curve)
	for _, width := range profileWidths {
		if _, ok := chosen(usual, width, ladder.AVIF); !ok {
			continue
		}
		c, _, err := b.curve(ctx, encoder, p, variant(ladder.WebP, width), curveQualities)
		if err != nil {
			return nil, err
		}
		curves[width] = c
	}
	return curves, nil
}

// comparison is two daemons' sets of a photo, and what WebP takes for it by width.
type comparison struct {
	photo               photo
	usualDaemon, daemon *daemon
	usualSet, set       manifest.Manifest
	webp                map[int]curve
}

// loaded compares what a browser loads of two sets, both by what WebP takes at
// the distances of their files. It is empty for a photo that reaches no width.
func (b *bench) loaded(ctx context.Context, c comparison, accepted ladder.Format) (map[string]float64, error) {
	var found []map[string]float64
	for width, webp := range c.webp {
		equal := func(d *daemon, m manifest.Manifest) (map[string]float64, error) {
			v, _ := chosen(m, width, accepted) // every width has a file
			at, err := b.look(ctx, c.photo, filepath.Join(d.set(m.ID), filepath.Base(v.Key)))
			return at.equalBytes(webp), err
		}
		before, err := equal(c.usualDaemon, c.usualSet)
		if err != nil {
			return nil, err
		}
		after, err := equal(c.daemon, c.set)
		if err != nil {
			return nil, err
		}
		for metric := range after {
			after[metric] /= before[metric]
		}
		found = append(found, after)
	}
	return means(found), nil
}
