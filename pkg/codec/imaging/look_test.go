package imaging

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"image/color"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

var lookSeed = flag.Int64("look.seed", time.Now().UnixNano(), "seed of the random colors")

// topOf decodes an image into a rung of at most the given width.
func topOf(t testing.TB, path string, width int) *vipsImage {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, h, err := engine().probe(f, generous)
	if err != nil {
		t.Fatal(err)
	}
	source := h.source()
	rung := ladder.Rung{Width: source.Width, Height: source.Height}
	if source.Width > width {
		rung = ladder.Rung{Width: width, Height: max(1, source.Height*width/source.Width)}
	}
	p, err := decode(f, l, h, 1, rung, make(ladder.Timings))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.free)
	return p
}

// encodedFile is a rung as a file.
func encodedFile(t testing.TB, p *vipsImage, e ladder.Encoder) []byte {
	t.Helper()
	out, err := p.encode(e, white, false)
	if err != nil {
		t.Fatal(err)
	}
	defer out.free()
	return bytes.Clone(out.bytes())
}

// Every encoder at every quality shows its rung, whatever the color, the size and
// the transparency.
func TestLookAcceptsWhatEncodersWrite(t *testing.T) {
	t.Logf("-look.seed=%d", *lookSeed)
	random := rand.New(rand.NewPCG(uint64(*lookSeed), 16))
	sizes := [][2]int{{1, 1}, {15, 40}, {16, 16}, {17, 31}, {33, 300}, {300, 33}, {129, 257}}
	for round := range 40 {
		size := sizes[round%len(sizes)]
		one := color.NRGBA{uint8(random.IntN(256)), uint8(random.IntN(256)), uint8(random.IntN(256)), uint8(random.IntN(256))}
		other := color.NRGBA{uint8(random.IntN(256)), uint8(random.IntN(256)), uint8(random.IntN(256)), 255}
		cell := 1 + random.IntN(40)
		if round%3 == 0 {
			one.A = 255
		}
		p := topOf(t, pngOf(t, size[0], size[1], func(x, y int) color.Color {
			if (x/cell+y/cell)%2 == 0 {
				return one
			}
			return other
		}), 4000)
		for _, f := range allFormats {
			for _, e := range []ladder.Encoder{
				{Format: f, Quality: 1}, {Format: f, Quality: 1 + random.IntN(100), Chroma: ladder.Chroma444}, {Format: f, Quality: 80, Effort: 1},
			} {
				if err := p.look(f, white, encodedFile(t, p, e)); err != nil {
					t.Errorf("%v and %v in cells of %d on %v: %+v: %v", one, other, cell, size, e, err)
				}
			}
		}
	}
}

// A pixel that nearly nobody sees colors its visible neighbors.
func TestLookAcceptsFaintPixelsOfAnotherColor(t *testing.T) {
	for _, colors := range [][2]color.NRGBA{
		{{17, 236, 8, 2}, {95, 111, 96, 255}},
		{{94, 0, 255, 1}, {255, 255, 0, 255}},
		{{88, 255, 0, 2}, {0, 0, 255, 255}},
	} {
		p := topOf(t, pngOf(t, 32, 32, func(x, y int) color.Color { return colors[(x/2+y/2)%2] }), 4000)
		for _, f := range allFormats {
			for _, quality := range []int{10, 80} {
				if err := p.look(f, white, encodedFile(t, p, ladder.Encoder{Format: f, Quality: quality})); err != nil {
					t.Errorf("%v as %s of quality %d: %v", colors, f, quality, err)
				}
			}
		}
	}
}

func TestLookAcceptsPhotosAndAnimations(t *testing.T) {
	for _, path := range []string{
		sample(t, "northern_cardinal_bird.jpg"), sample(t, "transparent.png"), sample(t, "test.gif"),
		gifOf(t, 40, []color.RGBA{{200, 0, 0, 255}, {0, 200, 0, 255}}, []int{10, 10}, 0),
	} {
		render(t, path, recipe(allFormats, 64, 300, 900))
	}
}

// What a broken encoder may return instead of the image is found in each format.
func TestLookRefusesWrongFiles(t *testing.T) {
	photo := topOf(t, sample(t, "northern_cardinal_bird.jpg"), 400)
	w, h := photo.frameSize()
	plain := func(w, h int, c color.Color) *vipsImage {
		return topOf(t, pngOf(t, w, h, func(int, int) color.Color { return c }), 4000)
	}
	black, gray, green := plain(w, h, color.Black), plain(w, h, color.Gray{200}), plain(w, h, color.RGBA{0, 135, 0, 255})
	clear := plain(w, h, color.Transparent)
	smaller := topOf(t, sample(t, "northern_cardinal_bird.jpg"), 200)
	for _, f := range allFormats {
		e := ladder.Encoder{Format: f, Quality: 80}
		right := encodedFile(t, photo, e)
		if err := photo.look(f, white, right); err != nil {
			t.Fatalf("%s of a photo: %v", f, err)
		}
		wrong := map[string][]byte{
			"black":        encodedFile(t, black, e),
			"light gray":   encodedFile(t, gray, e),
			"green":        encodedFile(t, green, e),
			"transparent":  encodedFile(t, clear, e),
			"smaller":      encodedFile(t, smaller, e),
			"cut":          right[:len(right)/2],
			"without end":  right[:len(right)-1],
			"only a start": right[:30],
			"zeros":        append(bytes.Clone(right[:12]), make([]byte, len(right)-12)...),
		}
		for what, file := range wrong {
			if err := photo.look(f, white, file); err == nil {
				t.Errorf("%s: accepted: %s", f, what)
			}
		}
	}
}

// An animation that shows something else is found too, and one whose canvas or
// frames are wrong.
func TestLookRefusesWrongAnimations(t *testing.T) {
	e := ladder.Encoder{Format: ladder.WebP, Quality: 80}
	right := topOf(t, gifOf(t, 40, []color.RGBA{{200, 0, 0, 255}, {0, 200, 0, 255}}, []int{10, 10}, 0), 40)
	wrong := topOf(t, gifOf(t, 40, []color.RGBA{{0, 0, 0, 255}, {0, 200, 0, 255}}, []int{10, 10}, 0), 40)
	file := encodedFile(t, right, e)
	if err := right.look(ladder.WebP, white, file); err != nil {
		t.Fatal(err)
	}
	if err := right.look(ladder.WebP, white, encodedFile(t, wrong, e)); err == nil || !strings.Contains(err.Error(), "color") {
		t.Errorf("another first frame: %v", err)
	}
	at := bytes.Index(file, []byte("ANMF"))
	for what, change := range map[string]func(b []byte) []byte{
		"no frame": func(b []byte) []byte {
			copy(b[at:], "JUNK")
			return bytes.ReplaceAll(b, []byte("ANMF"), []byte("JUNK"))
		},
		"a frame off the canvas": func(b []byte) []byte { b[at+8] = 30; return b },
		"another canvas":         func(b []byte) []byte { b[24]++; return b },
		"no such length":         func(b []byte) []byte { binary.LittleEndian.PutUint32(b[4:], 40); return b },
		"cut":                    func(b []byte) []byte { return b[:len(b)-2] },
	} {
		if err := right.look(ladder.WebP, white, change(bytes.Clone(file))); err == nil {
			t.Errorf("accepted: %s", what)
		}
	}
}

// BenchmarkLook measures how much of a ladder's CPU time looking at its files
// takes, as a percentage.
func BenchmarkLook(b *testing.B) {
	for _, name := range []string{"northern_cardinal_bird.jpg", "test_exif_full.jpg", "test.png"} {
		for _, formats := range [][]ladder.Format{defaultFormats, allFormats} {
			b.Run(fmt.Sprintf("%s/%d formats", name, len(formats)), func(b *testing.B) {
				path := sample(b, name)
				r := ladder.DefaultConfig()
				r.Formats = formats
				recipe := r.Recipe()
				var all, looked time.Duration
				for b.Loop() {
					began := cpu(b)
					c, _ := render(b, path, recipe)
					all += cpu(b) - began
					top := topOf(b, path, recipe.Widths[len(recipe.Widths)-1])
					for _, v := range c.order {
						p := top
						if w, h := top.frameSize(); w != v.Width || h != v.Height {
							var err error
							if p, err = top.shrink(ladder.Rung{Width: v.Width, Height: v.Height}); err != nil {
								b.Fatal(err)
							}
							defer p.free()
						}
						began = cpu(b)
						if err := p.look(v.Format, white, c.files[v.Name()]); err != nil {
							b.Fatal(err)
						}
						looked += cpu(b) - began
					}
				}
				b.ReportMetric(100*float64(looked)/float64(all), "%CPU")
			})
		}
	}
}

// cpu is the CPU time of this process.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}
