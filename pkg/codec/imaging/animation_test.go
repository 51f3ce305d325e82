package imaging

import (
	"image/color"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

var (
	red   = color.RGBA{220, 20, 20, 255}
	green = color.RGBA{20, 200, 20, 255}
	blue  = color.RGBA{20, 20, 220, 255}
)

// checkFrames holds an animated WebP of plain frames against what it should
// be, up to the rows where one frame touches the next in libvips.
func checkFrames(t *testing.T, path string, b []byte, width int) {
	t.Helper()
	out := file(t, "animation.webp", b)
	for _, name := range []string{"delay", "loop"} {
		if got, want := field(t, out, name), field(t, path, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := field(t, out, "n-pages"); got != "3" {
		t.Fatalf("%s frames", got)
	}
	m := pixelsOf(t, "animation.webp", b)
	if m.Rect.Dx() != width || m.Rect.Dy() != 3*width {
		t.Fatalf("all frames together are %v", m.Rect)
	}
	for i, c := range []color.RGBA{red, green, blue} {
		for _, y := range []int{0, 1, width / 2, width - 1} {
			wantColor(t, m, width/2, i*width+y, color.NRGBA(c), 12)
		}
	}
}

func TestAnimations(t *testing.T) {
	path := gifOf(t, 200, []color.RGBA{red, green, blue}, []int{7, 11, 200}, 2)
	c, s := render(t, path, recipe(allFormats, 60, 133, 200))
	if *c.opened != (ladder.Source{Format: "gif", Width: 200, Height: 200, Frames: 3}) {
		t.Errorf("source is %+v", *c.opened)
	}
	if len(s.Omitted) != 0 {
		t.Errorf("%v: a still is no fallback for an animation", s.Omitted)
	}
	checkFrames(t, path, c.files["60.webp"], 60)
	checkFrames(t, path, c.files["133.webp"], 133)
	checkFrames(t, path, c.files["200.webp"], 200)
	for _, name := range []string{"133.jpg", "133.avif"} {
		m := pixelsOf(t, name, c.files[name])
		if m.Rect.Dx() != 133 || m.Rect.Dy() != 133 {
			t.Fatalf("%s is %v", name, m.Rect)
		}
		wantColor(t, m, 66, 132, color.NRGBA(red), 12)
	}
	if got := chunks(t, c.files["60.webp"]); slices.Contains(got, "EXIF") || slices.Contains(got, "ICCP") {
		t.Errorf("chunks %q", got)
	}

	t.Run("from WebP", func(t *testing.T) {
		path := file(t, "source.webp", c.files["200.webp"])
		c, _ := render(t, path, recipe(defaultFormats, 60))
		if *c.opened != (ladder.Source{Format: "webp", Width: 200, Height: 200, Frames: 3}) {
			t.Errorf("source is %+v", *c.opened)
		}
		checkFrames(t, path, c.files["60.webp"], 60)
	})
}

func TestAnimationThatLoopsForEver(t *testing.T) {
	path := gifOf(t, 32, []color.RGBA{red, green, blue}, []int{5, 5, 5}, 0)
	c, _ := render(t, path, recipe(defaultFormats, 32))
	checkFrames(t, path, c.files["32.webp"], 32)
	if got := field(t, file(t, "loop.webp", c.files["32.webp"]), "loop"); got != "0" {
		t.Errorf("loop is %s", got)
	}
}

func TestAnimationWithTheMostPlaysIsNotEndless(t *testing.T) {
	path := gifOf(t, 32, []color.RGBA{red, green, blue}, []int{5, 5, 5}, 65535)
	c, _ := render(t, path, recipe(defaultFormats, 32))
	if got := field(t, file(t, "loop.webp", c.files["32.webp"]), "loop"); got != "65535" {
		t.Errorf("loop is %s", got)
	}
}

func TestAnimationOfOneFrameIsAStill(t *testing.T) {
	path := gifOf(t, 64, []color.RGBA{red}, []int{0}, 0)
	c, _ := render(t, path, recipe(defaultFormats, 64))
	if c.opened.Frames != 1 {
		t.Errorf("%d frames", c.opened.Frames)
	}
	for name, b := range c.files {
		if strings.HasSuffix(name, ".webp") && slices.Contains(chunks(t, b), "ANIM") {
			t.Error("the still is an animation")
		}
	}
}
