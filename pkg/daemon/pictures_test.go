package daemon_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// bimgTestdata is where the pictures of bimg's own tests are.
var bimgTestdata = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/h2non/bimg").Output()
	return filepath.Join(strings.TrimSpace(string(out)), "testdata"), err
})

// picture reads one of bimg's test pictures.
func picture(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := bimgTestdata()
	if err != nil {
		t.Fatalf("go list -m github.com/h2non/bimg: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noise is a picture that no other seed gives, and that does not compress.
func noise(seed uint64, width, height int) *image.RGBA {
	r := rand.New(rand.NewPCG(seed, 0))
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = byte(r.Uint32())
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	return img
}

func jpegOf(t *testing.T, img image.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// small is a picture of its own for each seed, quickly worked.
func small(t *testing.T, seed uint64) []byte {
	t.Helper()
	return jpegOf(t, noise(seed, 80, 60), 80)
}

// gifOf is an animation of equal frames.
func gifOf(t *testing.T, width, height, frames int) []byte {
	t.Helper()
	frame := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{color.White, color.Black})
	g := &gif.GIF{}
	for range frames {
		g.Image = append(g.Image, frame)
		g.Delay = append(g.Delay, 5)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withJPEGSize is the JPEG with another size in its frame header.
func withJPEGSize(t *testing.T, b []byte, width, height uint16) []byte {
	t.Helper()
	b = bytes.Clone(b)
	at := sof(t, b)
	binary.BigEndian.PutUint16(b[at+5:], height)
	binary.BigEndian.PutUint16(b[at+7:], width)
	return b
}

// sof is where the frame header of a JPEG starts.
func sof(t *testing.T, b []byte) int {
	t.Helper()
	for at := 2; at+9 < len(b); at += 2 + int(binary.BigEndian.Uint16(b[at+2:])) {
		if b[at] == 0xff && (b[at+1] == 0xc0 || b[at+1] == 0xc2) {
			return at
		}
	}
	t.Fatal("the JPEG has no frame header")
	return 0
}

// jpegHeader is the JPEG up to its first scan, without a byte of that.
func jpegHeader(t *testing.T, b []byte) []byte {
	t.Helper()
	at := bytes.Index(b[sof(t, b):], []byte{0xff, 0xda}) + sof(t, b)
	return b[:at+2+int(binary.BigEndian.Uint16(b[at+2:]))]
}

// pngBomb is a whole PNG of one bit a pixel, all of them black.
func pngBomb(t *testing.T, width, height int) []byte {
	t.Helper()
	var data bytes.Buffer
	z, err := zlib.NewWriterLevel(&data, zlib.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	row := make([]byte, 1+(width+7)/8)
	for range height {
		if _, err := z.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b := []byte("\x89PNG\r\n\x1a\n")
	b = append(b, pngChunk("IHDR", pngHeader(width, height, 1, 0, 0))...)
	b = append(b, pngChunk("IDAT", data.Bytes())...)
	return append(b, pngChunk("IEND", nil)...)
}

func pngHeader(width, height int, depth, colour, interlace byte) []byte {
	h := binary.BigEndian.AppendUint32(nil, uint32(width))
	h = binary.BigEndian.AppendUint32(h, uint32(height))
	return append(h, depth, colour, 0, 0, interlace)
}

func pngChunk(name string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}
