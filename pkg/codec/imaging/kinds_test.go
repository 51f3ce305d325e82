package imaging

import (
	"bytes"
	"encoding/binary"
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

func TestAnAPNGIsTakenByItsDefaultImage(t *testing.T) {
	still := quartersPNG(t)
	control := pngChunk("fcTL", string(binary.BigEndian.AppendUint32(nil, 0))+
		"\x00\x00\x00\x28\x00\x00\x00\x28\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x64\x00\x00")
	other := encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, quarters(tiffSide, fourGreys)) })
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
