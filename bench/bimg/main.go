// Command bimg is plain bimg as a contestant: one call for each variant, as
// bimg's users write it.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/h2non/bimg"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func main() {
	bimg.VipsCacheSetMax(0) // an answer from a cache would measure nothing
	about := fmt.Sprintf("bimg %s, this system's libvips", bimg.Version)
	if err := contest.Serve(os.Stdin, os.Stdout, about, render); err != nil {
		log.Fatal(err)
	}
}

var types = map[ladder.Format]bimg.ImageType{ladder.WebP: bimg.WEBP, ladder.JPEG: bimg.JPEG}

func render(r contest.Request) (*contest.Parts, error) {
	source, err := os.ReadFile(r.Photo)
	if err != nil {
		return nil, err
	}
	for _, v := range r.Variants {
		out, err := bimg.NewImage(source).Process(bimg.Options{
			Width:         v.Width,
			Type:          types[v.Format],
			Quality:       v.Quality,
			Interlace:     v.Format == ladder.JPEG,
			StripMetadata: true,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		if err := os.WriteFile(filepath.Join(r.Folder, v.Name), out, 0o600); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
