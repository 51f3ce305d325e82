package imaging

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestEstimate(t *testing.T) {
	const mb = 1 << 20
	rungs := []ladder.Rung{{Width: 2048, Height: 1536}, {Width: 1024, Height: 768}}
	encoders := recipe(defaultFormats, 1024, 2048).Encoders
	photo := header{format: "jpeg", width: 6000, height: 4500, frames: 1, bands: 3, sampleBytes: 1, subsampled: true}
	with := func(change func(h *header)) header {
		h := photo
		change(&h)
		return h
	}
	for _, test := range []struct {
		name        string
		h           header
		shrink      int
		least, most int64 // MB
	}{
		{"baseline JPEG streams", photo, 1, 30, 70},
		{"progressive JPEG holds coefficients", with(func(h *header) { h.progressive = true }), 1, 27_000_000*3/mb + 9, 160},
		{"and its decoder's shrinking does not help", with(func(h *header) { h.progressive = true }), 2, 27_000_000*3/mb + 9, 160},
		{"progressive 4:4:4 holds more", with(func(h *header) { h.progressive, h.subsampled = true, false }), 1, 27_000_000*6/mb + 9, 210},
		{"PNG streams", with(func(h *header) { h.format = "png" }), 1, 30, 70},
		{"interlaced PNG is whole", with(func(h *header) { h.format, h.interlaced = "png", true }), 1, 27_000_000*3/mb + 9, 140},
		{"interlaced 16-bit PNG", with(func(h *header) { h.format, h.interlaced, h.sampleBytes = "png", true, 2 }), 1, 27_000_000*6/mb + 9, 210},
		{"WebP is whole", with(func(h *header) { h.format = "webp" }), 1, 27_000_000*15/mb + 9, 430},
		{"WebP is smaller when shrunk", with(func(h *header) { h.format = "webp" }), 2, 27_000_000*4/mb + 9, 200},
		{"WebP of 24 MP, lossy, measured", header{format: "webp", width: 6000, height: 4000, frames: 1, bands: 3, sampleBytes: 1}, 1, 360, 400},
		{"lossless, measured", header{format: "webp", width: 6000, height: 4000, frames: 1, bands: 3, sampleBytes: 1, lossless: true}, 1, 455, 500},
		{"lossy with alpha, measured", header{format: "webp", width: 6000, height: 4000, frames: 1, bands: 4, sampleBytes: 1, alpha: true}, 1, 438, 480},
		{"lossless with alpha, measured", header{format: "webp", width: 6000, height: 4000, frames: 1, bands: 4, sampleBytes: 1, alpha: true, lossless: true}, 1, 488, 570},
		{"WebP of 8 frames of 3 MP, measured", header{format: "webp", width: 2000, height: 1500, frames: 8, bands: 4, sampleBytes: 1, alpha: true}, 1, 225, 280},
		{"of lossless frames, measured", header{format: "webp", width: 2000, height: 1500, frames: 8, bands: 4, sampleBytes: 1, alpha: true, lossless: true}, 1, 241, 290},
		{"HEIC is whole", with(func(h *header) { h.format = "heic" }), 1, 27_000_000*6/mb + 9, 230},
		{"HEIC of 48 MP, measured", header{format: "heic", width: 8064, height: 6048, frames: 1, bands: 3, sampleBytes: 1}, 1, 333, 384},
		{"AVIF is whole", with(func(h *header) { h.format = "avif" }), 1, 27_000_000*6/mb + 9, 290},
		{"AVIF of 8 MP, 4:2:0, measured", header{format: "avif", width: 2308, height: 3462, frames: 1, bands: 3, sampleBytes: 1}, 1, 68, 110},
		{"with alpha, measured", header{format: "avif", width: 2308, height: 3462, frames: 1, bands: 4, sampleBytes: 1, alpha: true}, 1, 101, 150},
		{"4:4:4, measured", header{format: "avif", width: 2308, height: 3462, frames: 1, bands: 3, sampleBytes: 1, fullChroma: true}, 1, 116, 160},
		{"of 10 bits, measured", header{format: "avif", width: 2308, height: 3462, frames: 1, bands: 3, sampleBytes: 2}, 1, 117, 170},
		{"of 10 bits and 4:4:4, measured", header{format: "avif", width: 2308, height: 3462, frames: 1, bands: 3, sampleBytes: 2, fullChroma: true}, 1, 214, 280},
		{"TIFF in strips", with(func(h *header) { h.format, h.rowsHeld = "tiff", 16 }), 1, 30, 70},
		{"TIFF in one strip", with(func(h *header) { h.format, h.rowsHeld = "tiff", 4500 }), 1, 27_000_000*3/mb + 9, 220},
		{"all frames of an animation", with(func(h *header) { h.format, h.frames, h.bands, h.alpha = "gif", 100, 4, true }), 1, 2048 * 1536 * 4 * 100 / mb, 2900},
	} {
		got := estimate(test.h, test.shrink, rungs, encoders, 1) / mb
		if got < test.least || got > test.most {
			t.Errorf("%s: %d MB, want %d to %d", test.name, got, test.least, test.most)
		}
	}
	if one, four := estimate(photo, 1, rungs, encoders, 1), estimate(photo, 1, rungs, encoders, 4); four <= one {
		t.Errorf("four encoders take %d, one takes %d", four, one)
	}
	huge := header{format: "avif", width: math.MaxInt32 / 4, height: 1000, frames: 1, bands: 4, sampleBytes: 2}
	if estimate(huge, 1, rungs, encoders, 1) < 0 {
		t.Error("overflow")
	}
}

func TestDecoderShrink(t *testing.T) {
	for _, test := range []struct {
		h             header
		width, height int
		want          int
	}{
		{header{format: "jpeg", width: 4000, height: 3000}, 2048, 1536, 1},
		{header{format: "jpeg", width: 3890, height: 2917}, 1024, 768, 1},
		{header{format: "jpeg", width: 3892, height: 2919}, 1024, 768, 2},
		{header{format: "jpeg", width: 8064, height: 6048}, 2048, 1536, 2},
		{header{format: "jpeg", width: 16000, height: 12000}, 1000, 750, 8},
		{header{format: "jpeg", width: 64000, height: 10}, 320, 1, 4},
		{header{format: "webp", width: 6000, height: 4500, frames: 1}, 1000, 750, 3},
		{header{format: "webp", width: 6000, height: 4500, frames: 1, alpha: true}, 1000, 750, 1},
		{header{format: "webp", width: 6000, height: 4500, frames: 2}, 1000, 750, 1},
		{header{format: "png", width: 6000, height: 4500}, 1000, 750, 1},
		{header{format: "webp", width: 10, height: 10, frames: 1}, 10, 10, 1},
	} {
		if got := test.h.decoderShrink(test.width, test.height); got != test.want {
			t.Errorf("%+v to %d × %d: %d, want %d", test.h, test.width, test.height, got, test.want)
		}
	}
}

func TestVariantMustBeSmaller(t *testing.T) {
	type sizes = map[ladder.Format]int64
	for _, test := range []struct {
		sizes           sizes
		animated, alpha bool
		want            []ladder.Format
	}{
		{sizes{ladder.JPEG: 10, ladder.WebP: 9, ladder.AVIF: 8}, false, false, nil},
		{sizes{ladder.JPEG: 10, ladder.WebP: 10}, false, false, []ladder.Format{ladder.WebP}},
		{sizes{ladder.JPEG: 10, ladder.WebP: 9, ladder.AVIF: 9}, false, false, []ladder.Format{ladder.AVIF}},
		{sizes{ladder.JPEG: 10, ladder.AVIF: 10}, false, false, []ladder.Format{ladder.AVIF}},
		{sizes{ladder.WebP: 10, ladder.AVIF: 11}, false, false, []ladder.Format{ladder.AVIF}},
		{sizes{ladder.AVIF: 11}, false, false, nil},
		// A WebP that is not there is nothing to fall back to.
		{sizes{ladder.JPEG: 10, ladder.WebP: 12, ladder.AVIF: 11}, false, false, []ladder.Format{ladder.WebP, ladder.AVIF}},
		{sizes{ladder.JPEG: 10, ladder.WebP: 12, ladder.AVIF: 9}, false, false, []ladder.Format{ladder.WebP}},
		{sizes{ladder.JPEG: 10, ladder.WebP: 99, ladder.AVIF: 12}, true, false, nil},
		{sizes{ladder.JPEG: 10, ladder.WebP: 99, ladder.AVIF: 98}, false, true, nil},
		{sizes{ladder.JPEG: 10, ladder.WebP: 99, ladder.AVIF: 100}, false, true, []ladder.Format{ladder.AVIF}},
	} {
		if got := notSmaller(test.sizes, test.animated, test.alpha); !slices.Equal(got, test.want) {
			t.Errorf("%v animated %v alpha %v: %v, want %v", test.sizes, test.animated, test.alpha, got, test.want)
		}
	}
}

func TestSourceOfARung(t *testing.T) {
	var sizes []ladder.Rung
	widths := []int{2048, 1600, 1280, 960, 640, 480, 320}
	for _, w := range widths {
		sizes = append(sizes, ladder.Rung{Width: w, Height: w})
	}
	want := map[int]int{1600: 2048, 1280: 2048, 960: 2048, 640: 1280, 480: 960, 320: 640}
	got := make(map[int]int)
	for i := 1; i < len(sizes); i++ {
		got[widths[i]] = widths[sourceOf(i, sizes)]
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSRGBProfiles(t *testing.T) {
	builtIn := sample(t, "test_smart_crop.jpg")
	srgb, p3 := t.TempDir()+"/srgb.tif", t.TempDir()+"/p3.tif"
	vips(t, "icc_transform", builtIn, srgb, "srgb", "--input-profile", "srgb")
	vips(t, "icc_transform", builtIn, p3, "p3", "--input-profile", "srgb")
	for path, want := range map[string]bool{
		srgb:                               true,
		p3:                                 false,
		sample(t, "vertical.jpg"):          true,  // IEC61966-2.1 as scanners and cameras embed it
		sample(t, "test_exif_full.jpg"):    false, // a phone's Display P3
		sample(t, "test_icc_prophoto.jpg"): false,
	} {
		profile := profileOf(t, path)
		if got := isSRGB(profile); got != want {
			t.Errorf("%s: %v", path, got)
		}
		for cut := range profile {
			isSRGB(profile[:cut]) // must not panic
			if cut < 2000 {
				broken := bytes.Clone(profile)
				broken[cut] ^= 0xFF
				isSRGB(broken)
			}
		}
	}
	// The primaries of sRGB with another curve are another space.
	linear := profileOf(t, srgb)
	for _, name := range []string{"rTRC", "gTRC", "bTRC"} {
		tag := profileTags(linear)[name]
		if string(tag[:4]) == "para" {
			binary.BigEndian.PutUint32(tag[12:], 1<<16)
		} else {
			binary.BigEndian.PutUint32(tag[8:], 2)
			copy(tag[12:], "\x00\x00\xFF\xFF")
		}
	}
	if isSRGB(linear) {
		t.Error("linear light is accepted as sRGB")
	}
}

func TestStripWebP(t *testing.T) {
	chunk := func(name string, body string) string {
		b := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(body)))
		b = append(b, body...)
		if len(body)%2 == 1 {
			b = append(b, 0)
		}
		return string(b)
	}
	riff := func(chunks ...string) []byte {
		body := "WEBP"
		for _, c := range chunks {
			body += c
		}
		return []byte(chunk("RIFF", body))
	}
	x := func(flags string) string { return chunk("VP8X", flags+"\x00\x00\x00123456") }
	for name, test := range map[string]struct{ in, want []byte }{
		"plain":     {riff(chunk("VP8 ", "pixel")), riff(chunk("VP8 ", "pixel"))},
		"exif":      {riff(x("\x08"), chunk("VP8 ", "pixel"), chunk("EXIF", "abc")), riff(chunk("VP8 ", "pixel"))},
		"all":       {riff(x("\x3c"), chunk("ICCP", "abc"), chunk("ALPH", "a"), chunk("VP8 ", "pixels"), chunk("EXIF", "abc"), chunk("XMP ", "x")), riff(x("\x10"), chunk("ALPH", "a"), chunk("VP8 ", "pixels"))},
		"animation": {riff(x("\x0a"), chunk("ANIM", "a"), chunk("ANMF", "b"), chunk("EXIF", "abc")), riff(x("\x02"), chunk("ANIM", "a"), chunk("ANMF", "b"))},
		"cut short": {riff(chunk("EXIF", "abcd"), chunk("VP8 ", "pixels"))[:30], riff(chunk("EXIF", "abcd"), chunk("VP8 ", "pixels"))[:30]},
		"no WebP":   {[]byte("something else"), []byte("something else")},
	} {
		b := bytes.Clone(test.in)
		if got := b[:stripWebP(b)]; !bytes.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
