package imaging

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestOrientationsAreAllTurnedUpright(t *testing.T) {
	photo := filepath.Join(t.TempDir(), "upright.png")
	run(t, "vipsthumbnail", sample(t, "northern_cardinal_bird.jpg"), "--size", "351x199!", "-o", photo)
	upright := pixelsIn(t, photo)
	w, h := upright.Rect.Dx(), upright.Rect.Dy()
	// Where each orientation stores the pixel that is at x, y when upright.
	stored := map[byte]func(x, y int) (int, int){
		1: func(x, y int) (int, int) { return x, y },
		2: func(x, y int) (int, int) { return w - 1 - x, y },
		3: func(x, y int) (int, int) { return w - 1 - x, h - 1 - y },
		4: func(x, y int) (int, int) { return x, h - 1 - y },
		5: func(x, y int) (int, int) { return y, x },
		6: func(x, y int) (int, int) { return y, w - 1 - x },
		7: func(x, y int) (int, int) { return h - 1 - y, w - 1 - x },
		8: func(x, y int) (int, int) { return h - 1 - y, x },
	}
	for o := byte(1); o <= 8; o++ {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			size := image.Pt(w, h)
			if o > 4 {
				size = image.Pt(h, w)
			}
			m := image.NewRGBA(image.Rectangle{Max: size})
			for i := range w * h {
				from := upright.PixOffset(i%w, i/w)
				x, y := stored[o](i%w, i/w)
				copy(m.Pix[m.PixOffset(x, y):], upright.Pix[from:from+4])
			}
			var b bytes.Buffer
			if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
				t.Fatal(err)
			}
			turned := file(t, "turned.jpg", withSegments(b.Bytes(), exif(o, "")))

			c, _ := render(t, turned, recipe(defaultFormats, 350, 351))
			if diff := cmp.Diff(ladder.Source{Format: "jpeg", Width: w, Height: h, Frames: 1}, *c.opened); diff != "" {
				t.Errorf("the source differs (-want +got):\n%s", diff)
			}
			wantNear(t, "orientation", pixelsOf(t, "351.jpg", c.files["351.jpg"]), upright, 5)
		})
	}
}

func TestRungsAreExactlyAsPlanned(t *testing.T) {
	r := recipe([]ladder.Format{ladder.JPEG}, 1, 2, 3, 7, 50, 99, 166, 250, 496, 497)
	for _, size := range [][2]int{{497, 307}, {601, 3}, {3, 601}, {1, 1}, {500, 499}} {
		path := pngOf(t, size[0], size[1], func(x, y int) color.Color { return color.NRGBA{byte(x), byte(y), 90, 255} })
		c, _ := render(t, path, r)
		for _, v := range c.order {
			config, err := jpeg.DecodeConfig(bytes.NewReader(c.files[v.Name()]))
			if err != nil {
				t.Fatal(err)
			}
			if config.Width != v.Width || config.Height != v.Height {
				t.Errorf("%v: %s is %d × %d, want height %d", size, v.Name(), config.Width, config.Height, v.Height)
			}
		}
	}
}

func TestRungsShowTheSameImage(t *testing.T) {
	photo := sample(t, "test_exif.jpg") // 3264 wide: the small ladder is shrunk by the decoder, too
	references := make(map[int]*image.NRGBA)
	for _, widths := range [][]int{{400, 500, 800}, {400}} {
		c, _ := render(t, photo, recipe(defaultFormats, widths...))
		for _, v := range c.order {
			if references[v.Width] == nil {
				reference := filepath.Join(t.TempDir(), "reference.png")
				vips(t, "resize", photo, reference, fmt.Sprint(float64(v.Width)/3264), "--vscale", fmt.Sprint(float64(v.Height)/2448))
				references[v.Width] = pixelsIn(t, reference)
			}
			wantNear(t, v.Name(), pixelsOf(t, v.Name(), c.files[v.Name()]), references[v.Width], 4)
		}
	}
}

func TestSmallSourceIsNotEnlarged(t *testing.T) {
	c, _ := render(t, sample(t, "test_smart_crop.jpg"), recipe(defaultFormats, 320, 640))
	for name := range c.files {
		if name != "300.webp" && name != "300.jpg" {
			t.Errorf("unexpected %s", name)
		}
	}
	if len(c.files) == 0 {
		t.Error("no file")
	}
}

func TestFormats(t *testing.T) {
	dir := t.TempDir()
	photo := sample(t, "test.jpg")
	for _, f := range []string{"png", "tif", "webp"} {
		vips(t, "copy", photo, filepath.Join(dir, "photo."+f))
	}
	for path, want := range map[string]ladder.Source{
		photo:                            {Format: "jpeg", Width: 1680, Height: 1050, Frames: 1},
		filepath.Join(dir, "photo.png"):  {Format: "png", Width: 1680, Height: 1050, Frames: 1},
		filepath.Join(dir, "photo.tif"):  {Format: "tiff", Width: 1680, Height: 1050, Frames: 1},
		filepath.Join(dir, "photo.webp"): {Format: "webp", Width: 1680, Height: 1050, Frames: 1},
		sample(t, "test.gif"):            {Format: "gif", Width: 703, Height: 681, Frames: 24},
		sample(t, "test2.heic"):          {Format: "heic", Width: 1440, Height: 960, Frames: 1},
		sample(t, "test.avif"):           {Format: "avif", Width: 3082, Height: 2048, Frames: 1},
	} {
		c, _ := render(t, path, plain(120))
		if diff := cmp.Diff(want, *c.opened); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filepath.Base(path), diff)
		}
		whole, reference := filepath.Join(dir, "whole.v"), filepath.Join(dir, "reference.png")
		vips(t, "copy", path, whole) // vipsthumbnail would take a HEIC's own thumbnail
		run(t, "vipsthumbnail", whole, "--size", fmt.Sprintf("120x%d!", c.order[0].Height), "-o", reference)
		wantNear(t, filepath.Base(path), pixelsOf(t, "120.jpg", c.files["120.jpg"]), pixelsIn(t, reference), 5)
	}
}

func TestEncodings(t *testing.T) {
	c, _ := render(t, sample(t, "northern_cardinal_bird.jpg"), recipe(allFormats, 480))
	if m := segments(t, c.files["480.jpg"]); !slices.Contains(m, 0xC2) {
		t.Errorf("the JPEG is not progressive: segments % X", m)
	}
	if got := chunks(t, c.files["480.webp"]); !slices.Equal(got, []string{"VP8 "}) {
		t.Errorf("the WebP has chunks %q", got)
	}
	if got := field(t, file(t, "480.avif", c.files["480.avif"]), "heif-compression"); got != "av1" {
		t.Errorf("the AVIF is in %s", got)
	}
	a := pixelsOf(t, "480.jpg", c.files["480.jpg"])
	wantNear(t, "WebP", pixelsOf(t, "480.webp", c.files["480.webp"]), a, 4.5)
	wantNear(t, "AVIF", pixelsOf(t, "480.avif", c.files["480.avif"]), a, 4.5)
}

func TestChroma(t *testing.T) {
	for chroma, want := range map[string]string{ladder.Chroma420: "4:2:0", ladder.Chroma444: "4:4:4"} {
		config := ladder.DefaultConfig()
		config.ChromaSubsampling = chroma
		config.Widths = []int{200}
		c, _ := render(t, sample(t, "test.jpg"), config.Recipe())
		if got := field(t, file(t, "200.jpg", c.files["200.jpg"]), "jpeg-chroma-subsample"); got != want {
			t.Errorf("%s gave %s", chroma, got)
		}
	}
}

func TestImageBeyondTheSidesOfAFormat(t *testing.T) {
	tall := pngOf(t, 40, 17000, func(x, y int) color.Color { return color.Gray{byte(y / 100)} })
	r := recipe(defaultFormats, 20, 40)
	c, s := render(t, tall, r)
	var names []string
	for _, v := range c.order {
		names = append(names, v.Name())
	}
	slices.Sort(names)
	for _, name := range []string{"20.jpg", "40.jpg"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s in %v", name, names)
		}
	}
	if slices.Contains(names, "40.webp") {
		t.Error("a WebP of 17000 pixels")
	}
	for _, o := range s.Omitted {
		if o.Reason != ladder.NotSmaller {
			t.Errorf("the engine reports %v, which belongs to the plan", o)
		}
	}
}

func TestKernelHoldsNoImageAfterItsEnd(t *testing.T) {
	tall := pngOf(t, 4, 17000, func(x, y int) color.Color { return color.White })
	c, s := render(t, tall, recipe([]ladder.Format{ladder.WebP}, 4))
	if len(c.files) != 0 || len(s.ThumbHash) == 0 || s.Color != (ladder.RGB{255, 255, 255}) {
		t.Errorf("files %v, summary %+v", c.order, s)
	}
}

func TestVariantThatIsNotSmallerIsOmitted(t *testing.T) {
	r := recipe(allFormats, 160, 320)
	for i, q := range []int{95, 100, 10} { // AVIF, WebP, JPEG
		r.Encoders[i].Quality = q
	}
	c, s := render(t, sample(t, "test.jpg"), r)
	want := []ladder.Omission{
		{Format: ladder.AVIF, Width: 160, Reason: ladder.NotSmaller},
		{Format: ladder.AVIF, Width: 320, Reason: ladder.NotSmaller},
		{Format: ladder.WebP, Width: 160, Reason: ladder.NotSmaller},
		{Format: ladder.WebP, Width: 320, Reason: ladder.NotSmaller},
	}
	if !slices.Equal(s.Omitted, want) {
		t.Errorf("omitted %v, want %v", s.Omitted, want)
	}
	if len(c.files) != 2 || c.files["160.jpg"] == nil || c.files["320.jpg"] == nil {
		t.Errorf("files %v", c.order)
	}
}

func TestSummary(t *testing.T) {
	half := pngOf(t, 200, 100, func(x, y int) color.Color {
		if x < 100 {
			return color.NRGBA{200, 100, 0, 255}
		}
		return color.NRGBA{}
	})
	r := recipe(defaultFormats, 100, 200)
	r.Background = &ladder.RGB{0, 100, 200}
	_, s := render(t, half, r)
	for i, want := range []int{100, 100, 100} {
		if d := int(s.Color[i]) - want; d < -2 || d > 2 {
			t.Errorf("color is %v", s.Color)
			break
		}
	}
	if n := len(s.ThumbHash); n < 5 || n > 25 {
		t.Errorf("the hash has %d bytes", n)
	}
	if s.Omitted == nil {
		t.Error("omissions are nil")
	}
}
