package imaging

import (
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// noise is an image in which no pixel predicts its neighbors.
func noise() func(x, y int) color.Color {
	random := rand.New(rand.NewPCG(1, 2))
	return func(int, int) color.Color {
		v := random.Uint32()
		return color.NRGBA{R: uint8(v), G: uint8(v >> 8), B: uint8(v >> 16), A: 255}
	}
}

// withRung calls use with the top rung, of the given size, of an image.
func withRung(t *testing.T, path string, width, height int, use func(*vipsImage)) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	onThread(func() {
		engine, err := Start(Config{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		l, h, err := engine.probe(f, ladder.Limits{MaxPixels: 1 << 40, MaxFrames: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		rung, err := decode(f, l, h, 1, ladder.Rung{Width: width, Height: height}, make(ladder.Timings))
		if err != nil {
			t.Fatal(err)
		}
		defer rung.free()
		use(rung)
	})
}

// decodedAt returns the RGBA pixels of an image's rung of that size.
func decodedAt(t *testing.T, path string, width, height int) []byte {
	t.Helper()
	var pixels []byte
	withRung(t, path, width, height, func(rung *vipsImage) {
		var err error
		if pixels, err = rung.rgba(width, height); err != nil {
			t.Fatal(err)
		}
	})
	return pixels
}

// lanczos gives the weights by which each of size samples is made of n, as the
// textbook has it: in floating point, the edge going on for ever.
func lanczos(n, size int) [][]float64 {
	factor := float64(n) / float64(size)
	stretch := max(1, factor)
	weights := make([][]float64, size)
	for i := range weights {
		weights[i] = make([]float64, n)
		center := (float64(i)+0.5)*factor - 0.5
		var sum float64
		for j := int(math.Floor(center - 3*stretch)); j <= int(math.Ceil(center+3*stretch)); j++ {
			x := (float64(j) - center) / stretch
			if math.Abs(x) >= 3 {
				continue
			}
			weight := 1.0
			if x != 0 {
				weight = 3 * math.Sin(math.Pi*x) * math.Sin(math.Pi*x/3) / (math.Pi * math.Pi * x * x)
			}
			weights[i][min(max(j, 0), n-1)] += weight
			sum += weight
		}
		for j := range weights[i] {
			weights[i][j] /= sum
		}
	}
	return weights
}

// weigh is the sum of samples by their weights, without a limit to the values.
func weigh(samples, weights []float64) (sum float64) {
	for i, w := range weights {
		sum += w * samples[i]
	}
	return sum
}

// lanczosRGBA is what an image of opaque RGBA pixels should be at that size.
func lanczosRGBA(pixels []byte, w, h, width, height int) []byte {
	out := make([]byte, 4*width*height)
	across, down := lanczos(w, width), lanczos(h, height)
	column := make([]float64, h)
	for c := range 4 {
		rows := make([][]float64, height)
		for y := range rows {
			rows[y] = make([]float64, w)
		}
		for x := range w {
			for y := range column {
				column[y] = float64(pixels[4*(y*w+x)+c])
			}
			for y := range rows {
				rows[y][x] = weigh(column, down[y])
			}
		}
		for y := range rows {
			for x := range width {
				out[4*(y*width+x)+c] = uint8(math.Round(min(max(weigh(rows[y], across[x]), 0), 255)))
			}
		}
	}
	return out
}

func TestRungsAreTheTextbooksLanczos(t *testing.T) {
	for _, test := range []struct{ w, h, width, height int }{
		{64, 64, 32, 32},
		{101, 67, 50, 33},
		{33, 95, 31, 90},
		{200, 9, 67, 3},
		{17, 300, 5, 88},
		{64, 1, 24, 1},
		{1, 64, 1, 24},
		{3, 2, 2, 1},
		{1, 2, 1, 1},
	} {
		path := pngOf(t, test.w, test.h, noise())
		want := lanczosRGBA(decodedAt(t, path, test.w, test.h), test.w, test.h, test.width, test.height)
		got := decodedAt(t, path, test.width, test.height)
		for i := range want {
			if d := int(got[i]) - int(want[i]); d < -1 || d > 1 {
				t.Errorf("%v: sample %d is %d, want %d", test, i, got[i], want[i])
				break
			}
		}
	}
}

func TestEvenColorStaysExactly(t *testing.T) {
	for _, want := range []color.NRGBA{{0, 0, 0, 255}, {255, 255, 255, 255}, {1, 128, 254, 255}} {
		path := pngOf(t, 331, 31, func(int, int) color.Color { return want })
		for _, width := range []int{330, 200, 77, 30, 3} {
			pixels := decodedAt(t, path, width, max(1, width*31/331))
			for i := 0; i < len(pixels); i += 4 {
				if got := (color.NRGBA{pixels[i], pixels[i+1], pixels[i+2], pixels[i+3]}); got != want {
					t.Fatalf("%v at width %d: pixel %d is %v", want, width, i/4, got)
				}
			}
		}
	}
}

// Where an image becomes smaller by far, blocks are averaged first: that is
// another filter, but the same image.
func TestResizeByFarShowsTheSameImage(t *testing.T) {
	const w, h, width, height = 320, 240, 20, 15
	smooth := func(x, y int) color.Color {
		return color.NRGBA{uint8(x * 255 / w), uint8(y * 255 / h), uint8((x + y) * 255 / (w + h)), 255}
	}
	path := pngOf(t, w, h, smooth)
	want := lanczosRGBA(decodedAt(t, path, w, h), w, h, width, height)
	got := decodedAt(t, path, width, height)
	for i := range want {
		if d := int(got[i]) - int(want[i]); d < -2 || d > 2 {
			t.Fatalf("sample %d is %d, want %d", i, got[i], want[i])
		}
	}
}

// What is transparent has no say in the colors beside it.
func TestTransparentPixelsWeighNothing(t *testing.T) {
	path := pngOf(t, 96, 64, func(x, _ int) color.Color {
		if x%2 == 0 {
			return color.NRGBA{R: 200, G: 100, B: 50, A: 255}
		}
		return color.NRGBA{G: 255}
	})
	pixels := decodedAt(t, path, 24, 16)
	for i := 0; i < len(pixels); i += 4 {
		r, g, b := int(pixels[i]), int(pixels[i+1]), int(pixels[i+2])
		if max(r-200, 200-r, g-100, 100-g, b-50, 50-b) > 3 {
			t.Fatalf("pixel %d is %v", i/4, pixels[i:i+4])
		}
	}
}

// A rung that libvips knows to come from another one makes it crash, now and
// then, when one thread saves the rung while another frees the other one.
func TestRungsAreNotLinkedToTheirSources(t *testing.T) {
	path := pngOf(t, 96, 64, noise())
	withRung(t, path, 48, 32, func(top *vipsImage) {
		smaller, err := top.shrink(ladder.Rung{Width: 24, Height: 16})
		if err != nil {
			t.Fatal(err)
		}
		defer smaller.free()
		same, err := top.shrink(ladder.Rung{Width: 48, Height: 32})
		if err != nil {
			t.Fatal(err)
		}
		defer same.free()
		for name, rung := range map[string]*vipsImage{"top": top, "smaller": smaller, "same size": same} {
			if rung.image.upstream != nil {
				t.Errorf("%s: linked to the image it was made from", name)
			}
		}
	})
}
