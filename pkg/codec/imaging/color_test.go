package imaging

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// plain is a recipe that changes pixels as little as a lossy one can.
func plain(width int) ladder.Recipe {
	c := ladder.DefaultConfig()
	c.Widths = []int{width}
	c.Quality.JPEG, c.Quality.WebP = 98, 98
	c.ChromaSubsampling = ladder.Chroma444
	c.Formats = []ladder.Format{ladder.JPEG}
	return c.Recipe()
}

func TestProfilesBecomeSRGB(t *testing.T) {
	dir := t.TempDir()
	photo := filepath.Join(dir, "photo.png")
	run(t, "vipsthumbnail", sample(t, "northern_cardinal_bird.jpg"), "--size", "640", "-o", photo)
	proPhoto := file(t, "prophoto.icc", profileOf(t, sample(t, "test_icc_prophoto.jpg")))
	p3, deep, cmyk := filepath.Join(dir, "p3.png"), filepath.Join(dir, "deep.tif"), filepath.Join(dir, "cmyk.jpg")
	vips(t, "icc_transform", photo, p3, "p3", "--input-profile", "srgb")
	vips(t, "icc_transform", photo, deep, proPhoto, "--input-profile", "srgb", "--depth", "16")
	vips(t, "icc_transform", photo, cmyk+"[Q=95]", "cmyk", "--input-profile", "srgb")
	for _, path := range []string{
		p3, deep, cmyk,
		sample(t, "test_icc_prophoto.jpg"),
		sample(t, "exif/Landscape_1.jpg"),
		sample(t, "vertical.jpg"), // a plain sRGB profile, which is not converted
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, _ := render(t, path, plain(320))
			reference := filepath.Join(dir, "reference.png")
			run(t, "vipsthumbnail", path, "--size", fmt.Sprintf("320x%d!", c.order[0].Height),
				"--export-profile", "srgb", "-o", reference+"[strip]")
			wantNear(t, "to the reference", pixelsOf(t, "320.jpg", c.files["320.jpg"]), pixelsIn(t, reference), 2.2)
		})
	}
	t.Run("back to the photo", func(t *testing.T) {
		want, _ := render(t, photo, plain(320))
		for _, path := range []string{p3, deep} {
			c, _ := render(t, path, plain(320))
			wantNear(t, filepath.Base(path), pixelsOf(t, "320.jpg", c.files["320.jpg"]),
				pixelsOf(t, "320.jpg", want.files["320.jpg"]), 2)
		}
	})
}

func TestDeepProPhotoDoesNotBand(t *testing.T) {
	dir := t.TempDir()
	proPhoto := file(t, "prophoto.icc", profileOf(t, sample(t, "test_icc_prophoto.jpg")))
	ramp, gray, rgb, deep := filepath.Join(dir, "r.v"), filepath.Join(dir, "g.v"), filepath.Join(dir, "b.v"), filepath.Join(dir, "deep.tif")
	vips(t, "grey", ramp, "2048", "16")
	vips(t, "linear", ramp, gray, "65535", "0")
	vips(t, "cast", gray, ramp, "ushort")
	vips(t, "bandjoin", ramp+" "+ramp+" "+ramp, rgb)
	vips(t, "copy", rgb, gray, "--interpretation", "rgb16")
	vips(t, "icc_transform", gray, deep, proPhoto, "--input-profile", "srgb", "--depth", "16")

	c, _ := render(t, deep, plain(2048))
	m := pixelsOf(t, "2048.jpg", c.files["2048.jpg"])
	levels := make(map[byte]bool)
	for x := range 2048 {
		levels[m.NRGBAAt(x, 8).G] = true
	}
	if len(levels) < 250 {
		t.Errorf("a ramp over all 256 levels has %d left", len(levels))
	}
}

func TestUnusableProfileSpoilsNothing(t *testing.T) {
	photo := read(t, sample(t, "test_smart_crop.jpg"))
	want, _ := render(t, file(t, "plain.jpg", photo), plain(200))
	gray := profileOf(t, sample(t, "test_icc_prophoto.jpg"))
	copy(gray[profileSpace:], "GRAY")
	short := profileOf(t, sample(t, "test_icc_prophoto.jpg"))[:400]
	for name, profile := range map[string]string{
		"noise": string(bytes.Repeat([]byte("noise"), 100)),
		"short": string(short),
		"other": string(gray),
		"tiny":  "x",
	} {
		b := withSegments(photo, segment(2, "ICC_PROFILE\x00\x01\x01", profile))
		c, _ := render(t, file(t, name+".jpg", b), plain(200))
		wantNear(t, name, pixelsOf(t, "200.jpg", c.files["200.jpg"]), pixelsOf(t, "200.jpg", want.files["200.jpg"]), 0.5)
	}
}

func TestCMYKWithoutProfile(t *testing.T) {
	photo := sample(t, "northern_cardinal_bird.jpg")
	cmyk := filepath.Join(t.TempDir(), "cmyk.jpg")
	vips(t, "icc_transform", photo, cmyk+"[Q=95,strip]", "cmyk", "--input-profile", "srgb")
	want, _ := render(t, photo, plain(320))
	c, _ := render(t, cmyk, plain(320))
	wantNear(t, "CMYK", pixelsOf(t, "320.jpg", c.files["320.jpg"]), pixelsOf(t, "320.jpg", want.files["320.jpg"]), 12)
}

func TestDeepGrayWithAlpha(t *testing.T) {
	dir := t.TempDir()
	ramp, deep, both, path := filepath.Join(dir, "r.v"), filepath.Join(dir, "d.v"), filepath.Join(dir, "b.v"), filepath.Join(dir, "gray.png")
	vips(t, "grey", ramp, "256", "64", "--uchar")
	vips(t, "linear", ramp, both, "257", "0") // 8 bits to 16
	vips(t, "cast", both, deep, "ushort")
	vips(t, "bandjoin_const", deep, both, "32896") // half
	vips(t, "copy", both, path, "--interpretation", "grey16")
	if got := run(t, "vipsheader", path); !strings.Contains(got, "ushort, 2 bands, grey16") {
		t.Fatalf("the picture is %s", got)
	}
	c, _ := render(t, path, recipe(defaultFormats, 128, 256))
	m := pixelsOf(t, "256.webp", c.files["256.webp"])
	for _, x := range []int{10, 128, 245} {
		wantColor(t, m, x, 32, color.NRGBA{byte(x), byte(x), byte(x), 128}, 6)
	}
	m = pixelsOf(t, "128.jpg", c.files["128.jpg"])
	wantColor(t, m, 64, 16, color.NRGBA{192, 192, 192, 255}, 6) // half 128, half white
}

func TestDeepAlphaWithAProfile(t *testing.T) {
	m := image.NewNRGBA64(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		m.SetNRGBA64(i%64, i/64, color.NRGBA64{R: 40000, G: 30000, B: 20000, A: 32896})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	profiled := filepath.Join(t.TempDir(), "profiled.png")
	vips(t, "pngsave", file(t, "deep.png", b.Bytes()), profiled, "--profile", "p3")
	if format := field(t, profiled, "format"); !strings.HasSuffix(format, "USHORT)") || len(profileOf(t, profiled)) == 0 {
		t.Fatalf("the picture is %s, and not what this test is for", format)
	}
	pixels := decodedAt(t, profiled, 32, 32)
	if alpha := pixels[3]; alpha < 127 || alpha > 129 {
		t.Errorf("alpha is %d, want 128", alpha)
	}
}

func TestGrayStaysGray(t *testing.T) {
	path := pngOf(t, 64, 64, func(x, y int) color.Color { return color.Gray{byte(4 * x)} })
	gray := filepath.Join(t.TempDir(), "gray.png")
	vips(t, "extract_band", path, gray, "0")
	c, _ := render(t, gray, recipe(defaultFormats, 64))
	for name, b := range c.files {
		wantColor(t, pixelsOf(t, name, b), 32, 32, color.NRGBA{128, 128, 128, 255}, 4)
	}
}

func TestTIFFInOtherColorSpaces(t *testing.T) {
	photo := sample(t, "test_smart_crop.jpg")
	want := pixelsIn(t, photo)
	for _, space := range []string{"labq", "rgb16"} {
		path := filepath.Join(t.TempDir(), space+".tif")
		vips(t, "colourspace", photo, path, space)
		c, _ := render(t, path, plain(300))
		wantNear(t, space, pixelsOf(t, "300.jpg", c.files["300.jpg"]), want, 3)
	}
}

func TestTransparentEdgeHasNoFringe(t *testing.T) {
	// White that fades into transparent black: wherever colors are mixed
	// without their alpha, the edge gets gray.
	path := pngOf(t, 1024, 256, func(x, y int) color.Color {
		switch {
		case x < 400:
			return color.NRGBA{255, 255, 255, 255}
		case x < 600 && x%3 == 0:
			return color.NRGBA{255, 255, 255, 120}
		default:
			return color.NRGBA{0, 0, 0, 0}
		}
	})
	c, s := render(t, path, recipe(allFormats, 100, 333, 1000))
	for _, o := range s.Omitted {
		if o.Format != ladder.AVIF {
			t.Errorf("%v: a JPEG is no fallback for transparency", o)
		}
	}
	for name, b := range c.files {
		m := pixelsOf(t, name, b)
		for i := 0; i < len(m.Pix); i += 4 {
			alpha := int(m.Pix[i+3])
			onWhite := (int(m.Pix[i+1])*alpha + 255*(255-alpha)) / 255
			if onWhite < 245 {
				t.Errorf("%s: pixel %d is %d on white", name, i/4, onWhite)
				break
			}
		}
	}
	if m := pixelsOf(t, "1000.webp", c.files["1000.webp"]); m.NRGBAAt(990, 100).A != 0 || m.NRGBAAt(10, 100).A != 255 {
		t.Error("transparency is lost")
	}
}

func TestBackgroundIsUnderJPEG(t *testing.T) {
	path := pngOf(t, 64, 64, func(x, y int) color.Color { return color.NRGBA{0, 0, 0, 0} })
	r := recipe(defaultFormats, 64)
	r.Background = &ladder.RGB{10, 120, 200}
	c, _ := render(t, path, r)
	wantColor(t, pixelsOf(t, "64.jpg", c.files["64.jpg"]), 30, 30, color.NRGBA{10, 120, 200, 255}, 3)
}

func TestPaletteWithTransparency(t *testing.T) {
	path := pngOf(t, 64, 64, func(x, y int) color.Color {
		if x < 32 {
			return color.NRGBA{255, 0, 0, 255}
		}
		return color.NRGBA{0, 255, 0, 0}
	})
	palette := filepath.Join(t.TempDir(), "palette.png")
	vips(t, "pngsave", path, palette, "--palette")
	c, _ := render(t, palette, recipe(defaultFormats, 64))
	m := pixelsOf(t, "64.webp", c.files["64.webp"])
	wantColor(t, m, 8, 32, color.NRGBA{255, 0, 0, 255}, 12)
	if m.NRGBAAt(56, 32).A != 0 {
		t.Error("transparency is lost")
	}
}

func TestOpaqueAlphaIsDropped(t *testing.T) {
	dir := t.TempDir()
	flat, path := filepath.Join(dir, "f.v"), filepath.Join(dir, "opaque.png")
	vips(t, "bandjoin_const", sample(t, "test_smart_crop.jpg"), flat, "255")
	vips(t, "copy", flat, path)
	c, _ := render(t, path, recipe(defaultFormats, 100, 200))
	if got := chunks(t, c.files["200.webp"]); !slices.Equal(got, []string{"VP8 "}) {
		t.Errorf("chunks %q", got)
	}
}

func TestVariantsHaveNoMetadata(t *testing.T) {
	p3 := profileOf(t, sample(t, "test_exif_full.jpg"))
	xmp := "http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta xmlns:x='adobe:ns:meta/'><secret/></x:xmpmeta>"
	b := withSegments(read(t, sample(t, "test_smart_crop.jpg")),
		exif(6, "secret"),
		segment(1, xmp),
		segment(2, "ICC_PROFILE\x00\x01\x01", string(p3)),
		segment(13, "Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0b\x1c\x02\x78\x00\x06secret\x00"),
		[]byte("\xFF\xFE\x00\x08secret"),
	)
	photos := []string{
		file(t, "all.jpg", b),
		sample(t, "test_exif_full.jpg"), // with GPS, as a phone wrote it
		sample(t, "test.heic"),
		sample(t, "exif/Landscape_6.jpg"),
	}
	for _, path := range photos {
		c, _ := render(t, path, recipe(allFormats, 200))
		for name, b := range c.files {
			checkBare(t, filepath.Base(path)+" "+name, b)
		}
	}
}

// checkBare fails on anything in a file that is not needed to show it.
func checkBare(t *testing.T, name string, b []byte) {
	t.Helper()
	switch filepath.Ext(name) {
	case ".jpg":
		for _, m := range segments(t, b) {
			if m == 0xFE || m > 0xE0 && m <= 0xEF && m != 0xEE {
				t.Errorf("%s: segment %X", name, m)
			}
		}
	case ".webp":
		for _, c := range chunks(t, b) {
			if c != "VP8 " && c != "VP8X" && c != "ALPH" {
				t.Errorf("%s: chunk %q", name, c)
			}
		}
	case ".avif":
		meta, _, _ := bytes.Cut(b, []byte("mdat"))
		checkLacks(t, name, meta, "Exif", "mime", "prof", "rICC")
	}
	checkLacks(t, name, b, "secret", "xap/1.0", "ICC_PROFILE", "Photoshop", "Apple", "iPhone")
}

// checkLacks fails for each of the words that is in b, a file or a part of it.
func checkLacks(t *testing.T, name string, b []byte, words ...string) {
	t.Helper()
	for _, word := range words {
		if bytes.Contains(b, []byte(word)) {
			t.Errorf("%s: contains %q", name, word)
		}
	}
}
