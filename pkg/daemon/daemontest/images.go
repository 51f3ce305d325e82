package daemontest

import (
	"bytes"
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

// BimgTestdata returns the directory of the images of bimg's own tests.
var BimgTestdata = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/h2non/bimg").Output()
	return filepath.Join(strings.TrimSpace(string(out)), "testdata"), err
})

// BimgImage reads one of bimg's test images.
func BimgImage(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := BimgTestdata()
	if err != nil {
		t.Fatalf("go list -m github.com/h2non/bimg: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Noise returns an incompressible image that is unique to the seed.
func Noise(seed uint64, width, height int) *image.RGBA {
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

// JPEG encodes an image.
func JPEG(t *testing.T, img image.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// SmallJPEG returns a JPEG of 80 × 60 pixels, different for each seed.
func SmallJPEG(t *testing.T, seed uint64) []byte {
	t.Helper()
	return JPEG(t, Noise(seed, 80, 60), 80)
}

// GIF returns an animation of equal frames.
func GIF(t *testing.T, width, height, frames int) []byte {
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
