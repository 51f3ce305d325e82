package imaging

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// quarters is an image of four colors.
func quarters(side int, of [4]color.NRGBA) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			m.SetNRGBA(x, y, of[2*x/side+2*(2*y/side)])
		}
	}
	return m
}

func encoded(t *testing.T, encode func(b *bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func quartersPNG(t *testing.T) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, quarters(tiffSide, fourColors)) })
}

func quartersJPEG(t *testing.T) []byte {
	return encoded(t, func(b *bytes.Buffer) error {
		return jpeg.Encode(b, quarters(tiffSide, fourColors), &jpeg.Options{Quality: 95})
	})
}

func pngChunk(name, body string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(b, name+body...)
	return string(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:])))
}

// afterHeader puts chunks behind a PNG's header, beforeEnd before its end.
func afterHeader(file []byte, chunks string) []byte {
	const header = 8 + 25
	return []byte(string(file[:header]) + chunks + string(file[header:]))
}

func beforeEnd(file []byte, chunks string) []byte {
	const end = 12
	return []byte(string(file[:len(file)-end]) + chunks + string(file[len(file)-end:]))
}

func TestAPNGIsTakenByItsDefaultImage(t *testing.T) {
	still := quartersPNG(t)
	control := pngChunk("fcTL", string(binary.BigEndian.AppendUint32(nil, 0))+
		"\x00\x00\x00\x28\x00\x00\x00\x28\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x64\x00\x00")
	other := encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, quarters(tiffSide, fourGrays)) })
	at := bytes.Index(other, []byte("IDAT"))
	size := int(binary.BigEndian.Uint32(other[at-4:]))
	frame := pngChunk("fcTL", "\x00\x00\x00\x01\x00\x00\x00\x28\x00\x00\x00\x28\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x64\x00\x00") +
		pngChunk("fdAT", "\x00\x00\x00\x02"+string(other[at+4:at+4+size]))
	actl := func(frames byte) string {
		return pngChunk("acTL", "\x00\x00\x00"+string([]byte{frames})+"\x00\x00\x00\x00")
	}
	for name, b := range map[string][]byte{
		"default image is a frame":  beforeEnd(afterHeader(still, actl(2)+control), frame),
		"default image is no frame": beforeEnd(afterHeader(still, actl(1)), frame),
		"one frame":                 afterHeader(still, actl(1)+control),
		"no frames":                 afterHeader(still, actl(0)),
		"text before":               beforeEnd(afterHeader(still, pngChunk("tEXt", "a\x00b")+actl(2)+control), frame),
	} {
		c, _ := render(t, file(t, "a.png", b), recipe(defaultFormats, tiffSide))
		if c.opened.Format != "png" || c.opened.Frames != 1 {
			t.Errorf("%s: opened %+v", name, *c.opened)
		}
		wantQuarters(t, c, "40.jpg", fourColors, 14)
	}
}

// exifOf is an EXIF block without a prefix, whose thumbnail tags point nowhere.
func exifOf(orientation byte) string {
	return "MM\x00\x2A\x00\x00\x00\x08\x00\x03" +
		"\x02\x01\x00\x04\x00\x00\x00\x01\x7f\xff\xff\xff" +
		"\x02\x02\x00\x04\x00\x00\x00\x01\x7f\xff\xff\xff" +
		"\x01\x12\x00\x03\x00\x00\x00\x01\x00" + string([]byte{orientation}) + "\x00\x00" + "\x00\x00\x00\x00"
}

func TestOrientationOfEachFormatIsApplied(t *testing.T) {
	// Where the quarters of the file are seen, by orientation.
	seen := map[byte][4]int{
		1: {0, 1, 2, 3}, 2: {1, 0, 3, 2}, 3: {3, 2, 1, 0}, 4: {2, 3, 0, 1},
		5: {0, 2, 1, 3}, 6: {2, 0, 3, 1}, 7: {3, 1, 2, 0}, 8: {1, 3, 0, 2},
	}
	dir := t.TempDir()
	lossless := filepath.Join(dir, "plain.webp")
	vips(t, "webpsave", file(t, "plain.png", quartersPNG(t)), lossless, "--lossless")
	webp := read(t, lossless)
	webp = webp[:stripWebP(webp)] // libvips puts an EXIF block in
	for o, places := range seen {
		e := exifOf(o)
		w := []byte(string(webp) + "EXIF" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(e)))) + e)
		binary.LittleEndian.PutUint32(w[4:], uint32(len(w)-8))
		order := binary.AppendByteOrder(binary.BigEndian)
		tiff := tiffFile{
			photometric: 2, bits: 8, order: order, more: map[int]uint32{},
			quarters: channels(fourColors, func(r, g, b, _ float64) []float64 { return []float64{r, g, b} }),
		}
		tagged := bytes.Replace(tiff.bytes(), []byte("\x01\x16\x00\x04"), []byte("\x01\x12\x00\x04"), 1) // rows in the strip
		at := bytes.Index(tagged, []byte("\x01\x12\x00\x04"))
		binary.BigEndian.PutUint32(tagged[at+8:], uint32(o))
		var want [4]color.NRGBA
		for i, from := range places {
			want[i] = fourColors[from]
		}
		for name, b := range map[string][]byte{
			"a.jpg":  withSegments(quartersJPEG(t), segment(1, "Exif\x00\x00", e)),
			"a.png":  afterHeader(quartersPNG(t), pngChunk("eXIf", e)),
			"b.png":  beforeEnd(quartersPNG(t), pngChunk("eXIf", e)),
			"a.webp": w,
			"a.tif":  tagged,
		} {
			c, _ := render(t, file(t, name, b), recipe(defaultFormats, tiffSide))
			if t.Run(name, func(t *testing.T) { wantQuarters(t, c, "40.jpg", want, 14) }); t.Failed() {
				t.Fatalf("orientation %d", o)
			}
		}
	}
}

func TestJPEGWithoutItsEndMarkerIsTakenIfNothingElseIsMissing(t *testing.T) {
	photo := sample(t, "test_smart_crop.jpg")
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"baseline":             {},
		"progressive":          {"--interlace"},
		"restart":              {"--restart-interval", "4"},
		"progressive, restart": {"--interlace", "--restart-interval", "4"},
	} {
		path := filepath.Join(dir, name+".jpg")
		vips(t, append([]string{"jpegsave", photo, path}, args...)...)
		whole := read(t, path)
		want, _ := render(t, path, recipe(defaultFormats, 100))
		cut := whole[:len(whole)-2]
		for trailer, b := range map[string][]byte{
			"":                       cut,
			" before zeros":          append(bytes.Clone(cut), make([]byte, 100)...),
			" before something else": append(bytes.Clone(cut), "SEFH and more"...),
			" before another JPEG":   append(bytes.Clone(cut), whole...),
			" with half a marker":    append(bytes.Clone(cut), 0xFF),
		} {
			got, _, err := tryRender(t, file(t, "cut.jpg", b), recipe(defaultFormats, 100), generous)
			if err != nil {
				t.Errorf("%s%s: %v", name, trailer, err)
				continue
			}
			if !bytes.Equal(got.files["100.jpg"], want.files["100.jpg"]) {
				t.Errorf("%s%s: not the image that the whole file shows", name, trailer)
			}
		}
		for _, part := range []int{99, 95, 50, 20} {
			wantFault(t, file(t, "part.jpg", whole[:len(whole)*part/100]), generous, fault.CorruptImage)
		}
		if !strings.HasPrefix(name, "progressive") {
			continue
		}
		// Scans that are complete, but not all of them.
		last := bytes.LastIndex(whole, []byte{0xFF, 0xDA})
		wantFault(t, file(t, "scans.jpg", whole[:last]), generous, fault.CorruptImage)
	}
}

// The file is of cjpeg: 48 × 40 pixels, a gradient.
func TestArithmeticJPEGWithoutItsEndMarkerIsRefused(t *testing.T) {
	whole := read(t, "testdata/arithmetic.jpg")
	if c, _ := render(t, file(t, "whole.jpg", whole), recipe(defaultFormats, 40)); c.opened.Width != 48 {
		t.Errorf("opened %+v", *c.opened)
	}
	for _, n := range []int{len(whole) - 2, len(whole) * 3 / 4} {
		wantFault(t, file(t, "cut.jpg", whole[:n]), generous, fault.CorruptImage)
	}
}

func writeJPEG(t *testing.T, b *bytes.Buffer, colors [4]color.NRGBA) {
	t.Helper()
	if err := jpeg.Encode(b, quarters(tiffSide, colors), &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedPNGs(t *testing.T) {
	whole := quartersPNG(t)
	at := bytes.Index(whole, []byte("IDAT"))
	badData := bytes.Clone(whole)
	badData[at+4+int(binary.BigEndian.Uint32(whole[at-4:]))] ^= 1 // of its checksum
	badText := []byte(pngChunk("tEXt", "a\x00b"))
	badText[len(badText)-1] ^= 1
	for name, b := range map[string][]byte{
		"without its end":           whole[:len(whole)-12],
		"with half of its end":      whole[:len(whole)-6],
		"with a text that is wrong": afterHeader(whole, string(badText)),
		"with a gamma":              afterHeader(whole, pngChunk("gAMA", "\x00\x01\x86\xa0")),
		"with other primaries":      afterHeader(whole, pngChunk("cHRM", string(binary.BigEndian.AppendUint64(make([]byte, 24), 1<<32|1)))),
	} {
		c, _, err := tryRender(t, file(t, "a.png", b), recipe(defaultFormats, tiffSide), generous)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantQuarters(t, c, "40.jpg", fourColors, 14)
	}
	// Newer libvips decodes pixels whose checksum alone is wrong.
	if c, _, err := tryRender(t, file(t, "b.png", badData), recipe(defaultFormats, tiffSide), generous); err == nil {
		wantQuarters(t, c, "40.jpg", fourColors, 14)
	} else if fault.CodeOf(err) != fault.CorruptImage {
		t.Errorf("with a wrong checksum of its pixels: %v", err)
	}
	wantFault(t, file(t, "c.png", whole[:at+20]), generous, fault.CorruptImage)
}

func TestHDRIsRefusedByName(t *testing.T) {
	const pq = "\x09\x10\x00\x01" // BT.2020, PQ, RGB, full range
	hdr := file(t, "hdr.png", afterHeader(quartersPNG(t), pngChunk("cICP", pq)))
	wantFault(t, hdr, generous, fault.UnsupportedFormat)
	_, _, err := tryRender(t, hdr, recipe(defaultFormats, tiffSide), generous)
	if n := strings.Count(fmt.Sprint(err), "HDR (PQ) is not supported"); n != 1 {
		t.Errorf("the log names what is not supported %d times: %v", n, err)
	}
}

// HEIC and AVIF are turned by their own properties. Their EXIF may say how the
// image was before that. The file says 6, and has no irot; it was written by
// libvips 8.14, since 8.16 turns the one into the other.
func TestEXIFOrientationOfHEIFIsIgnored(t *testing.T) {
	c, _ := render(t, "testdata/exif-orientation-6.avif", recipe(defaultFormats, 40))
	if c.opened.Width != 48 || c.opened.Height != 64 {
		t.Errorf("%d × %d, want 48 × 64", c.opened.Width, c.opened.Height)
	}
}

// libavif, which browsers and Squoosh use, turns the colors of an AVIF and says
// nothing of its alpha, which turns with them.
func TestAlphaOfAnAVIFIsTurnedWithItsColors(t *testing.T) {
	corners := fourColors
	for i := range corners {
		corners[i].A = []byte{255, 128, 255, 0}[i]
	}
	path := filepath.Join(t.TempDir(), "a.avif")
	painted := file(t, "a.png", encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, quarters(tiffSide, corners)) }))
	vips(t, "heifsave", painted, path, "--compression", "av1", "--Q", "95")
	avif := read(t, path)
	bits := []byte("pixi\x00\x00\x00\x00\x03\x08\x08\x08") // of the colors, nothing that decoders need
	if bytes.Count(avif, bits) != 1 {
		t.Fatal("libheif writes other properties")
	}
	for transform, from := range map[string][4]int{ // which corner is seen at each
		"irot\x01": {1, 3, 0, 2},
		"irot\x02": {3, 2, 1, 0},
		"irot\x03": {2, 0, 3, 1},
		"imir\x00": {2, 3, 0, 1},
		"imir\x01": {1, 0, 3, 2},
	} {
		b := bytes.Replace(avif, bits, append([]byte(transform), make([]byte, len(bits)-len(transform))...), 1)
		c, _ := render(t, file(t, "b.avif", b), recipe(defaultFormats, tiffSide))
		m := pixelsOf(t, "40.webp", c.files["40.webp"])
		for i, at := range from {
			x, y := 8+24*(i%2), 8+24*(i/2)
			if got := m.NRGBAAt(x, y); corners[at].A == 0 {
				if got.A != 0 {
					t.Errorf("%q: %v at corner %d, want it transparent", transform, got, i)
				}
			} else {
				wantColor(t, m, x, y, corners[at], 14)
			}
		}
	}
}

// The files are of avifenc, as are the next ones, in four colors of alpha 255, 200, 128
// and 60. That of 10 bits has a profile that swaps channels.
func TestPremultipliedColorsOfAnAVIFAreDivided(t *testing.T) {
	want := fourColors
	for i, a := range []byte{255, 200, 128, 60} {
		want[i].A = a
	}
	for _, name := range []string{"premultiplied-8", "premultiplied-10-profile"} {
		c, _ := render(t, "testdata/"+name+".avif", recipe(defaultFormats, tiffSide))
		if t.Run(name, func(t *testing.T) { wantQuarters(t, c, "40.webp", want, 14) }); t.Failed() {
			return
		}
	}
}

func TestColorsOfAnAVIFAreRightOrRefused(t *testing.T) {
	for _, name := range []string{"ycgco-10", "rgb-limited"} {
		path := "testdata/" + name + ".avif"
		c, _, err := tryRender(t, path, recipe(defaultFormats, tiffSide), generous)
		if err == nil {
			wantQuarters(t, c, "40.jpg", fourColors, 14)
		} else if fault.CodeOf(err) != fault.UnsupportedFormat {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantFault(t, "testdata/gray-limited.avif", generous, fault.UnsupportedFormat)
}

// A turn or crop before the size, mirrors of 10 bits and long sides are too much for the
// libheif of Debian 12.
func TestSoundAVIFIsRightOrUnsupported(t *testing.T) {
	asStored := [4]int{0, 1, 2, 3}
	seen := map[string][4]int{ // which corner is at each
		"irot\x01": {1, 3, 0, 2}, "irot\x02": {3, 2, 1, 0}, "irot\x03": {2, 0, 3, 1},
		"imir\x00": {2, 3, 0, 1}, "imir\x01": {1, 0, 3, 2},
	}
	check := func(name string, b []byte, variant string, from [4]int) {
		t.Helper()
		c, _, err := tryRender(t, file(t, "a.avif", b), recipe(defaultFormats, 20, tiffSide), generous)
		if err == nil {
			var want [4]color.NRGBA
			for i, at := range from {
				want[i] = fourColors[at]
			}
			wantQuarters(t, c, variant, want, 14)
		} else if fault.CodeOf(err) != fault.UnsupportedFormat {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"turned-8", "turned-10"} {
		for transform, from := range seen {
			b := bytes.Replace(read(t, "testdata/"+name+".avif"), []byte("irot\x01"), []byte(transform), 1)
			check(name+", "+transform, b, "40.jpg", from)
			check(name+", "+transform+" first", lastPropertyFirst(t, b), "40.jpg", from)
		}
	}
	cropped := read(t, "testdata/cropped.avif")
	check("cropped", cropped, "20.jpg", asStored)
	check("cropped first", lastPropertyFirst(t, cropped), "20.jpg", asStored)
	if c, _, err := tryRender(t, "testdata/long.avif", recipe(defaultFormats, 16), generous); err == nil {
		wantQuarters(t, c, "16.jpg", fourColors, 24)
	} else if fault.CodeOf(err) != fault.UnsupportedFormat {
		t.Error(err)
	}
}

// lastPropertyFirst changes the order of the properties of the only item of an AVIF.
func lastPropertyFirst(t *testing.T, avif []byte) []byte {
	t.Helper()
	out := bytes.Clone(avif)
	_, of, ok := bytes.Cut(out, []byte("ipma\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01"))
	if !ok {
		t.Fatal("another list of properties")
	}
	of = of[1 : 1+of[0]]
	last := of[len(of)-1]
	copy(of[1:], of)
	of[0] = last
	return out
}

// takenEXIF is an EXIF block without a prefix that says when a photo was taken.
const takenEXIF = "MM\x00\x2A\x00\x00\x00\x08" +
	"\x00\x01\x87\x69\x00\x04\x00\x00\x00\x01\x00\x00\x00\x1a\x00\x00\x00\x00" +
	"\x00\x02\x90\x03\x00\x02\x00\x00\x00\x14\x00\x00\x00\x38\x90\x11\x00\x02\x00\x00\x00\x07\x00\x00\x00\x4c\x00\x00\x00\x00" +
	"2026:11:28 14:03:59\x00+01:00\x00"

func TestTimeOfAPhotoIsReadInEachFormat(t *testing.T) {
	dir := t.TempDir()
	jpg := file(t, "a.jpg", withSegments(quartersJPEG(t), segment(1, "Exif\x00\x00", takenEXIF)))
	heif, webp := filepath.Join(dir, "a.avif"), filepath.Join(dir, "a.webp")
	vips(t, "heifsave", jpg, heif, "--compression", "av1")
	vips(t, "webpsave", jpg, webp)
	png := file(t, "a.png", afterHeader(quartersPNG(t), pngChunk("eXIf", takenEXIF)))
	for _, path := range []string{jpg, heif, webp, png} {
		c, _ := render(t, path, recipe(defaultFormats, tiffSide))
		if c.opened.TakenAt != "2026-11-28T14:03:59+01:00" {
			t.Errorf("%s: taken at %q", filepath.Base(path), c.opened.TakenAt)
		}
	}
	if c, _ := render(t, file(t, "plain.png", quartersPNG(t)), recipe(defaultFormats, tiffSide)); c.opened.TakenAt != "" {
		t.Errorf("without EXIF: taken at %q", c.opened.TakenAt)
	}
}
