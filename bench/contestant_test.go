package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// The photo is on its side: upright, it is higher than wide.
const rotatedPhoto = "test_exif_full.jpg"

func TestContestantsMakeWhatTheyAreAskedFor(t *testing.T) {
	folder := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", folder+"/", "./bimg", "./floor").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	testdata, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/h2non/bimg").Output()
	if err != nil {
		t.Fatal(err)
	}
	p := photo{name: rotatedPhoto, path: filepath.Join(strings.TrimSpace(string(testdata)), "testdata", rotatedPhoto)}
	plan := []contest.Variant{variant(ladder.WebP, 96), variant(ladder.JPEG, 64)}
	for _, name := range []string{bimg, floor} {
		t.Run(name, func(t *testing.T) {
			c, err := startPeer(context.Background(), folder, filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			defer c.stop()
			r, err := c.render(context.Background(), p, plan)
			if err != nil {
				t.Fatal(err)
			}
			if r.cpu <= 0 || r.wall < r.cpu/2 {
				t.Errorf("%.3f s of CPU in %.3f s", r.cpu, r.wall)
			}
			if n := missing(plan, r.folder); n > 0 {
				t.Fatalf("%d of %v are not there", n, plan)
			}
			for file, want := range map[string][2]int{"96.webp": {96, 128}, "64.jpg": {64, 85}} {
				width, height, err := size(context.Background(), filepath.Join(r.folder, file))
				if err != nil {
					t.Fatal(err)
				}
				if width != want[0] || height != want[1] {
					t.Errorf("%s is %dx%d, want %dx%d", file, width, height, want[0], want[1])
				}
			}
			if _, err := c.render(context.Background(), photo{name: "none", path: "none.jpg"}, plan); err == nil {
				t.Error("a photo that is not there is no failure")
			}
		})
	}
}
