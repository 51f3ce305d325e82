package imaging

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// half is a GIF whose only frames cover the left half of the canvas.
func halfGIF(t *testing.T, frames int) string {
	t.Helper()
	g := gif.GIF{Config: image.Config{Width: 80, Height: 40}}
	for i := range frames {
		m := image.NewPaletted(image.Rect(0, 0, 40, 40), color.Palette{color.NRGBA{200, byte(100 * i), 30, 255}})
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 10)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &g); err != nil {
		t.Fatal(err)
	}
	return file(t, "half.gif", b.Bytes())
}

func TestWhatNoFrameOfAGIFCoversIsTransparent(t *testing.T) {
	for frames := 1; frames <= 2; frames++ {
		r := recipe(defaultFormats, 40, 80)
		r.Background = &ladder.RGB{10, 120, 200}
		c, _ := render(t, halfGIF(t, frames), r)
		for _, width := range []int{40, 80} {
			name := ladder.Variant{Format: ladder.WebP, Width: width}.Name()
			m := pixelsOf(t, name, c.files[name])
			wantColour(t, m, width/4, width/4, color.NRGBA{200, 0, 30, 255}, 12)
			wantColour(t, m, width*3/4, width/4, color.NRGBA{}, 255)
			if a := m.NRGBAAt(width*3/4, width/4).A; a != 0 {
				t.Errorf("%d frames: alpha is %d at the right of %s", frames, a, name)
			}
			name = ladder.Variant{Format: ladder.JPEG, Width: width}.Name()
			wantColour(t, pixelsOf(t, name, c.files[name]), width*3/4, width/4, color.NRGBA{10, 120, 200, 255}, 6)
		}
		if b := c.files["80.webp"]; frames > 1 && b[20]&webpAlpha == 0 {
			t.Error("the animation does not announce alpha")
		}
	}
}
