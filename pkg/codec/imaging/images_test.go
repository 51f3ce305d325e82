package imaging

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The images that the tests make, and how they look at those that the engine
// made.

// file puts bytes in a file that lasts as long as the test.
func file(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vips runs an operation of libvips on files.
func vips(t testing.TB, args ...string) { t.Helper(); run(t, "vips", args...) }

// field reads one field of an image with vipsheader.
func field(t testing.TB, path, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "vipsheader", "-f", name, path))
}

// profileOf is the ICC profile that is embedded in an image.
func profileOf(t testing.TB, path string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(field(t, path, "icc-profile-data"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pngOf paints a PNG.
func pngOf(t testing.TB, w, h int, at func(x, y int) color.Color) string {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, at(x, y))
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return file(t, "painted.png", b.Bytes())
}

// gifOf makes an animation of plain frames that loops for so many rounds
// beside the first.
func gifOf(t testing.TB, side int, frames []color.RGBA, hundredths []int, loops int) string {
	t.Helper()
	g := gif.GIF{LoopCount: loops, Delay: hundredths}
	for _, c := range frames {
		m := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{c, color.Black})
		g.Image = append(g.Image, m)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &g); err != nil {
		t.Fatal(err)
	}
	return file(t, "painted.gif", b.Bytes())
}

// withSegments puts segments into a JPEG, right behind its start.
func withSegments(jpeg []byte, segments ...[]byte) []byte {
	out := bytes.Clone(jpeg[:2])
	for _, s := range segments {
		out = append(out, s...)
	}
	return append(out, jpeg[2:]...)
}

// segment is an APP segment of a JPEG.
func segment(app byte, body ...string) []byte {
	b := strings.Join(body, "")
	out := binary.BigEndian.AppendUint16([]byte{0xFF, 0xE0 + app}, uint16(len(b)+2))
	return append(out, b...)
}

// exif is an EXIF segment with an orientation and an image description.
func exif(orientation byte, description string) []byte {
	description += "\x00"
	var b bytes.Buffer
	b.WriteString("MM\x00\x2A\x00\x00\x00\x08\x00\x02")
	b.WriteString("\x01\x0E\x00\x02")
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(description))))
	b.Write(binary.BigEndian.AppendUint32(nil, 8+2+2*12+4)) // behind the directory
	b.WriteString("\x01\x12\x00\x03\x00\x00\x00\x01\x00" + string(orientation) + "\x00\x00")
	b.WriteString("\x00\x00\x00\x00" + description)
	return segment(1, "Exif\x00\x00", b.String())
}

// jpegSized is a small JPEG whose header claims another size.
func jpegSized(t testing.TB, w, h int) string {
	t.Helper()
	b := read(t, sample(t, "test_smart_crop.jpg"))
	at := bytes.Index(b, []byte{0xFF, 0xC0})
	if at < 0 {
		t.Fatal("no baseline frame header")
	}
	binary.BigEndian.PutUint16(b[at+5:], uint16(h))
	binary.BigEndian.PutUint16(b[at+7:], uint16(w))
	return file(t, "giant.jpg", b)
}

// pngSized is a tiny PNG whose header claims another size.
func pngSized(t testing.TB, w, h int) string {
	t.Helper()
	b := read(t, pngOf(t, 1, 1, func(int, int) color.Color { return color.White }))
	binary.BigEndian.PutUint32(b[16:], uint32(w))
	binary.BigEndian.PutUint32(b[20:], uint32(h))
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return file(t, "bomb.png", b)
}

// segments gives the markers of a JPEG up to its first scan.
func segments(t testing.TB, b []byte) []byte {
	t.Helper()
	var markers []byte
	for at := 2; at+4 <= len(b); {
		if b[at] != 0xFF {
			t.Fatalf("no marker at %d of the JPEG", at)
		}
		markers = append(markers, b[at+1])
		if b[at+1] == 0xDA {
			return markers
		}
		at += 2 + int(binary.BigEndian.Uint16(b[at+2:]))
	}
	t.Fatal("the JPEG has no scan")
	return nil
}

// chunks gives the names of a WebP's chunks.
func chunks(t testing.TB, b []byte) []string {
	t.Helper()
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WEBP" {
		t.Fatal("not a WebP")
	}
	var names []string
	for at := 12; at+8 <= len(b); {
		names = append(names, string(b[at:at+4]))
		size := int(binary.LittleEndian.Uint32(b[at+4:]))
		at += 8 + size + size%2
	}
	return names
}

// pixelsOf decodes a file that the engine made, not by the engine: the frames
// of an animation lie one under the other.
func pixelsOf(t testing.TB, name string, b []byte) *image.NRGBA {
	t.Helper()
	if strings.HasSuffix(name, ".jpg") {
		m, err := jpeg.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return nrgba(m)
	}
	path := file(t, name, b)
	if strings.HasSuffix(name, ".webp") {
		path += "[n=-1]"
	}
	return pixelsIn(t, path)
}

// pixelsIn decodes any image with the tools of libvips.
func pixelsIn(t testing.TB, path string) *image.NRGBA {
	t.Helper()
	out := filepath.Join(t.TempDir(), "decoded.png")
	vips(t, "pngsave", path, out, "--compression", "1")
	m, err := png.Decode(bytes.NewReader(read(t, out)))
	if err != nil {
		t.Fatal(err)
	}
	return nrgba(m)
}

func nrgba(m image.Image) *image.NRGBA {
	if n, ok := m.(*image.NRGBA); ok {
		return n
	}
	n := image.NewNRGBA(image.Rect(0, 0, m.Bounds().Dx(), m.Bounds().Dy()))
	if y, ok := m.(*image.YCbCr); ok { // draw takes its fast way to RGBA alone
		opaque := &image.RGBA{Pix: n.Pix, Stride: n.Stride, Rect: n.Rect}
		draw.Draw(opaque, n.Rect, y, y.Rect.Min, draw.Src)
		return n
	}
	draw.Draw(n, n.Rect, m, m.Bounds().Min, draw.Src)
	return n
}

// distance is the mean difference of two images over all samples, in steps
// of 8 bits.
func distance(t testing.TB, a, b *image.NRGBA) float64 {
	t.Helper()
	if a.Rect.Size() != b.Rect.Size() {
		t.Fatalf("sizes differ: %v and %v", a.Rect.Size(), b.Rect.Size())
	}
	var sum float64
	for i := range a.Pix {
		sum += max(float64(a.Pix[i])-float64(b.Pix[i]), float64(b.Pix[i])-float64(a.Pix[i]))
	}
	return sum / float64(len(a.Pix)) * 4 / 3 // alpha is the same in most
}

// wantNear fails unless two images look the same.
func wantNear(t testing.TB, what string, a, b *image.NRGBA, most float64) {
	t.Helper()
	if d := distance(t, a, b); d > most {
		t.Errorf("%s: the pictures are %.2f steps apart, more than %.2f", what, d, most)
	}
}

// wantColor fails unless a pixel has a color within a tolerance, in steps.
func wantColor(t testing.TB, m *image.NRGBA, x, y int, want color.NRGBA, tolerance int) {
	t.Helper()
	got := m.NRGBAAt(x, y)
	for _, d := range []int{
		int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B), int(got.A) - int(want.A),
	} {
		if d > tolerance || -d > tolerance {
			t.Errorf("pixel %d,%d is %v, want %v within %d", x, y, got, want, tolerance)
			return
		}
	}
}
