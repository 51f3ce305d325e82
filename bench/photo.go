package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// photo is one that every contestant gets.
type photo struct {
	name string
	path string
	data []byte
}

// bimg's own photos that there are targets for, and what is measured with one
// photo alone.
const (
	photo24MP = "vertical.jpg"
	photo12MP = "test_exif_full.jpg"
	photo8MP  = "test_exif.jpg"
	photo2MP  = "northern_cardinal_bird.jpg"
	photo48MP = "joined.jpg" // made of the one with 24
)

var allPhotos = []string{photo48MP, photo24MP, photo12MP, photo8MP, photo2MP}

// load reads a photo from its path, or from bimg's test data if it is a mere
// name, or makes it.
func (b *bench) load(ctx context.Context, name string) (photo, error) {
	path := filepath.Join(b.testdata, name)
	if strings.Contains(name, "/") {
		path, name = name, filepath.Base(name)
	}
	if name == photo48MP {
		path = filepath.Join(b.folder, name)
		if err := b.join(ctx, filepath.Join(b.testdata, photo24MP), path); err != nil {
			return photo{}, err
		}
	}
	data, err := os.ReadFile(path)
	return photo{name, path, data}, err
}

// join lays a photo beside its mirror image, so that the larger one has as much
// detail in each pixel as a photo has.
func (b *bench) join(ctx context.Context, from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	mirrored := filepath.Join(b.folder, "mirrored.v")
	defer os.Remove(mirrored)
	if err := vips(ctx, "flip", from, mirrored, "horizontal"); err != nil {
		return err
	}
	return vips(ctx, "join", from, mirrored, to+"[Q=90,strip]", "horizontal")
}

// vips runs the vips command, which prints nothing unless it fails.
func vips(ctx context.Context, args ...string) error {
	_, err := output(ctx, "vips", args...)
	return err
}

// output is what a program prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, problem.String())
	}
	return strings.TrimSpace(string(out)), nil
}
