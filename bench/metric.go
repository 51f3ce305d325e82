package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

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

// look returns the point of a file, one variant of a photo.
func (b *bench) look(ctx context.Context, p photo, path string) (point, error) {
	info, err := os.Stat(path)
	if err != nil {
		return point{}, err
	}
	decoded := filepath.Join(b.folder, "decoded.png")
	if err := vips(ctx, "copy", path, decoded); err != nil {
		return point{}, err
	}
	width, height, err := size(ctx, path)
	if err != nil {
		return point{}, err
	}
	reference, err := b.reference(ctx, p, width, height)
	if err != nil {
		return point{}, err
	}
	at := point{Bytes: float64(info.Size()), Distance: make(map[string]float64)}
	for _, m := range metrics() {
		out, err := output(ctx, m.program, reference, decoded)
		if err != nil {
			return point{}, err
		}
		fields := strings.Fields(out)
		score, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return point{}, fmt.Errorf("%s: %w", m.program, err)
		}
		at.Distance[m.name] = m.distance(score)
	}
	return at, nil
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

// width is that of the upright photo.
func (b *bench) width(ctx context.Context, p photo) (int, error) {
	whole, err := b.whole(ctx, p)
	if err != nil {
		return 0, err
	}
	width, _, err := size(ctx, whole)
	return width, err
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
