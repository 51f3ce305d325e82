package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// qualityRow is what one contestant makes of all photos in one format.
type qualityRow struct {
	Format     ladder.Format
	Contestant string
	Bytes      float64            // of all widths of a photo, geometric mean of the photos
	Distance   map[string]float64 // by metric, geometric mean of the photos at both widths
	Ratio      ratioTo            // ours to its
	Photos     map[string]ratioTo // the same, photo by photo
}

// ratioTo compares files with other files of the same images.
type ratioTo struct {
	Bytes    float64
	Distance map[string]float64
}

// qualityWidths are those at which every variant is looked at.
var qualityWidths = []int{640, 1280}

// quality has each contestant make each ladder once, and compares sizes and
// distances from what a perfect encoder would give.
func (b *bench) quality(ctx context.Context) error {
	all, stop, err := b.contestants(ctx)
	if err != nil {
		return err
	}
	defer stop()
	names := []string{ours, bimg, sharp}
	formats := []ladder.Format{ladder.WebP, ladder.JPEG}
	type files struct {
		format     ladder.Format
		contestant string
	}
	samples := make(map[files][]sample) // in the order of the photos
	for _, p := range b.photos {
		plan, err := all[ours].(*daemon).plan(ctx, p)
		if err != nil {
			return err
		}
		for _, name := range names {
			b.progress("quality: %s, %s", p.name, name)
			r, err := all[name].render(ctx, p, plan)
			if err != nil {
				return err
			}
			if name == ours {
				plan = kept(plan, r.folder)
			}
			for _, format := range formats {
				var s sample
				if err := b.look(ctx, &s, p, r.folder, only(plan, format), qualityWidths); err != nil {
					return err
				}
				samples[files{format, name}] = append(samples[files{format, name}], s)
			}
		}
	}
	for _, format := range formats {
		for _, name := range names {
			own, theirs := samples[files{format, ours}], samples[files{format, name}]
			total := joined(theirs)
			row := qualityRow{format, name, geometric(total.bytes), total.means(), joined(own).to(total), make(map[string]ratioTo)}
			for i, p := range b.photos {
				row.Photos[p.name] = own[i].to(theirs[i])
			}
			b.results.Quality = append(b.results.Quality, row)
		}
	}
	return nil
}

// kept are the variants that are in a folder.
func kept(plan []contest.Variant, folder string) (there []contest.Variant) {
	for _, v := range plan {
		if _, err := os.Stat(filepath.Join(folder, v.Name)); err == nil {
			there = append(there, v)
		}
	}
	return there
}

func only(plan []contest.Variant, format ladder.Format) (some []contest.Variant) {
	for _, v := range plan {
		if v.Format == format {
			some = append(some, v)
		}
	}
	return some
}

// sample is what was seen of one contestant's files.
type sample struct {
	bytes     []float64            // a photo
	distances map[string][]float64 // by metric, a file
}

// joined is all of them as one.
func joined(samples []sample) (all sample) {
	for _, s := range samples {
		all.bytes = append(all.bytes, s.bytes...)
		for metric, distances := range s.distances {
			all.note(metric, distances...)
		}
	}
	return all
}

func (s *sample) note(metric string, distances ...float64) {
	if s.distances == nil {
		s.distances = make(map[string][]float64)
	}
	s.distances[metric] = append(s.distances[metric], distances...)
}

func (s sample) means() map[string]float64 {
	means := make(map[string]float64)
	for name, distances := range s.distances {
		means[name] = geometric(distances)
	}
	return means
}

// to compares two samples of the same files.
func (s sample) to(other sample) ratioTo {
	r := ratioTo{geometric(ratios(s.bytes, other.bytes)), make(map[string]float64)}
	for name, distances := range s.distances {
		r.Distance[name] = geometric(ratios(distances, other.distances[name]))
	}
	return r
}

// look adds the variants of one photo to a sample: the bytes of all, and the
// distances of those with some widths.
func (b *bench) look(ctx context.Context, s *sample, p photo, folder string, variants []contest.Variant, widths []int) error {
	var bytes int64
	for _, v := range variants {
		path := filepath.Join(folder, v.Name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		bytes += info.Size()
		for _, width := range widths {
			if v.Width != width {
				continue
			}
			if err := b.distances(ctx, s, p, path); err != nil {
				return err
			}
		}
	}
	s.bytes = append(s.bytes, float64(bytes))
	return nil
}

// metric is a program that says how far a PNG is from another one; its score is
// the last word of what it prints.
type metric struct {
	name     string
	program  string
	distance func(score float64) float64
}

func plain(score float64) float64 { return score }

// metrics are what this system's libjxl-devtools have: since Debian 13 that is
// SSIMULACRA 2, which gives 100 for the same image. Of Butteraugli it is the
// norm over the whole image, which is printed last; the largest distance,
// before it, is that of one spot.
func metrics() []metric {
	butteraugli := metric{"Butteraugli (3-norm)", "butteraugli_main", plain}
	if _, err := exec.LookPath("ssimulacra2"); err == nil {
		return []metric{{"100 − SSIMULACRA 2", "ssimulacra2", func(score float64) float64 { return 100 - score }}, butteraugli}
	}
	return []metric{{"SSIMULACRA", "ssimulacra_main", plain}, butteraugli}
}

func (b *bench) distances(ctx context.Context, s *sample, p photo, path string) error {
	decoded := filepath.Join(b.folder, "decoded.png")
	if err := vips(ctx, "copy", path, decoded); err != nil {
		return err
	}
	width, height, err := size(ctx, path)
	if err != nil {
		return err
	}
	reference, err := b.reference(ctx, p, width, height)
	if err != nil {
		return err
	}
	for _, m := range metrics() {
		out, err := output(ctx, m.program, reference, decoded)
		if err != nil {
			return err
		}
		fields := strings.Fields(out)
		score, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return fmt.Errorf("%s: %w", m.program, err)
		}
		s.note(m.name, m.distance(score))
	}
	return nil
}

// reference is the photo at a size, by the long way: the whole photo reduced by
// Lanczos 3 in one step.
func (b *bench) reference(ctx context.Context, p photo, width, height int) (string, error) {
	path := filepath.Join(b.folder, fmt.Sprintf("%s-%dx%d.png", p.name, width, height))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	whole, err := b.whole(ctx, p)
	if err != nil {
		return "", err
	}
	w, h, err := size(ctx, whole)
	if err != nil {
		return "", err
	}
	return path, vips(ctx, "resize", whole, path+"[strip]",
		fmt.Sprint(float64(width)/float64(w)), "--vscale", fmt.Sprint(float64(height)/float64(h)), "--kernel", "lanczos3", "--gap", "0")
}

// whole is the photo with all of its pixels decoded, turned upright, and brought
// to sRGB by its own profile if it has one.
func (b *bench) whole(ctx context.Context, p photo) (string, error) {
	path := filepath.Join(b.folder, p.name+".v")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if _, err := output(ctx, "vipsheader", "-f", "icc-profile-data", p.path); err != nil {
		return path, vips(ctx, "autorot", p.path, path)
	}
	upright := filepath.Join(b.folder, "upright.v")
	defer os.Remove(upright)
	if err := vips(ctx, "autorot", p.path, upright); err != nil {
		return "", err
	}
	return path, vips(ctx, "icc_transform", upright, path, "srgb", "--embedded", "--intent", "relative", "--depth", "8")
}

// size is an image's, as the file holds it.
func size(ctx context.Context, path string) (width, height int, err error) {
	for field, to := range map[string]*int{"width": &width, "height": &height} {
		out, err := output(ctx, "vipsheader", "-f", field, path)
		if err != nil {
			return 0, 0, err
		}
		if *to, err = strconv.Atoi(out); err != nil {
			return 0, 0, err
		}
	}
	return width, height, nil
}
