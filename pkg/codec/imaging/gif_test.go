package imaging

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
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

func TestGIFIsTransparentWhereNoFrameCoversIt(t *testing.T) {
	for frames := 1; frames <= 2; frames++ {
		r := recipe(defaultFormats, 40, 80)
		r.Background = &ladder.RGB{10, 120, 200}
		padded := append(read(t, halfGIF(t, frames)), make([]byte, 1000)...) // or WebP would not pay
		c, _ := render(t, file(t, "padded.gif", padded), r)
		for _, width := range []int{40, 80} {
			name := ladder.Variant{Format: ladder.WebP, Width: width}.Name()
			m := pixelsOf(t, name, c.files[name])
			wantColor(t, m, width/4, width/4, color.NRGBA{200, 0, 30, 255}, 12)
			wantColor(t, m, width*3/4, width/4, color.NRGBA{}, 255)
			if a := m.NRGBAAt(width*3/4, width/4).A; a != 0 {
				t.Errorf("%d frames: alpha is %d at the right of %s", frames, a, name)
			}
			name = ladder.Variant{Format: ladder.JPEG, Width: width}.Name()
			wantColor(t, pixelsOf(t, name, c.files[name]), width*3/4, width/4, color.NRGBA{10, 120, 200, 255}, 6)
		}
		if b := c.files["80.webp"]; frames > 1 && b[20]&webpAlpha == 0 {
			t.Error("the animation does not announce alpha")
		}
	}
}

func TestPixelsOfAGIFOutsideItsCanvasCount(t *testing.T) {
	var b bytes.Buffer
	if err := gif.Encode(&b, image.NewPaletted(image.Rect(0, 0, 1000, 1000), color.Palette{color.Black}), nil); err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes()[6:], []byte{8, 0, 8, 0}) // the canvas
	limits := ladder.Limits{MaxPixels: 999_999, MaxFrames: 1, MaxMemory: 1 << 30}
	wantFault(t, file(t, "wide.gif", b.Bytes()), limits, fault.TooManyPixels)
}

// drawing is an animation of flat shapes, of which GIF makes little.
func drawing(t *testing.T, side, frames int) string {
	t.Helper()
	g := gif.GIF{}
	for i := range frames {
		m := image.NewPaletted(image.Rect(0, 0, side, side), nil)
		for c := range 64 {
			m.Palette = append(m.Palette, color.NRGBA{byte(c * 37), byte(c * 91), byte(c * 13), 255})
		}
		for at := range m.Pix {
			m.Pix[at] = byte((at%side/20 + at/side/20 + i) % 64)
		}
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 5)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &g); err != nil {
		t.Fatal(err)
	}
	return file(t, "drawing.gif", b.Bytes())
}

func TestAnimationsDoNotGrow(t *testing.T) {
	path := drawing(t, 160, 6)
	source := int64(len(read(t, path)))
	c, s := render(t, path, recipe(defaultFormats, 40, 80, 160))
	for _, v := range c.order {
		if v.Format == ladder.WebP && v.Bytes >= source {
			t.Errorf("%s has %d bytes, the source %d", v.Name(), v.Bytes, source)
		}
	}
	if b := c.files["160.webp"]; !bytes.Contains(b, []byte("VP8L")) {
		t.Errorf("a drawing is not lossless; omitted are %v", s.Omitted)
	}
	// A few bytes of GIF are more as WebP.
	small := halfGIF(t, 2)
	if _, s = render(t, small, recipe(defaultFormats, 40, 80)); len(s.Omitted) == 0 || s.Omitted[0].Format != ladder.WebP || s.Omitted[0].Reason != ladder.NotSmaller {
		t.Errorf("omitted are %v", s.Omitted)
	}
	// A single variant that was asked for is made.
	single := recipe([]ladder.Format{ladder.WebP}, 40)
	single.Widths, single.Fit = nil, &ladder.Box{Width: 40}
	if c, _ := render(t, small, single); len(c.order) != 1 {
		t.Errorf("a single variant: %v", c.order)
	}
}
