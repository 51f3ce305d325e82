package gifanim_test

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/codec/imaging/gifanim"
)

var (
	none  = color.NRGBA{}
	red   = color.NRGBA{255, 0, 0, 255}
	green = color.NRGBA{0, 255, 0, 255}
	blue  = color.NRGBA{0, 0, 255, 255}
)

// area is a frame of one color.
func area(c color.Color, r image.Rectangle) *image.Paletted {
	p := image.NewPaletted(r, color.Palette{color.NRGBA{}, c})
	for i := range p.Pix {
		p.Pix[i] = 1
	}
	return p
}

func encode(t testing.TB, g *gif.GIF) []byte {
	t.Helper()
	if g.Delay == nil {
		g.Delay = make([]int, len(g.Image))
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, file []byte) *gifanim.Animation {
	t.Helper()
	a, err := gifanim.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// shown are the colors of two places in each frame: the left half's middle and
// the right half's.
func shown(t testing.TB, a *gifanim.Animation) (frames [][2]color.NRGBA) {
	t.Helper()
	c := a.Canvas()
	for {
		err := c.Next()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		at := func(x int) color.NRGBA {
			p := c.Pix[4*(a.Height/2*a.Width+x):]
			return color.NRGBA{p[0], p[1], p[2], p[3]}
		}
		frames = append(frames, [2]color.NRGBA{at(a.Width / 4), at(a.Width * 3 / 4)})
	}
}

func TestDisposal(t *testing.T) {
	whole, left, right := image.Rect(0, 0, 8, 8), image.Rect(0, 0, 4, 8), image.Rect(4, 0, 8, 8)
	for name, test := range map[string]struct {
		images   []*image.Paletted
		disposal []byte
		want     [][2]color.NRGBA
	}{
		"not covered":              {[]*image.Paletted{area(red, left)}, []byte{0}, [][2]color.NRGBA{{red, none}}},
		"covered by halves":        {[]*image.Paletted{area(red, left), area(blue, right)}, []byte{1, 1}, [][2]color.NRGBA{{red, none}, {red, blue}}},
		"to background":            {[]*image.Paletted{area(red, whole), area(green, left), area(blue, right)}, []byte{1, 2, 0}, [][2]color.NRGBA{{red, red}, {green, red}, {none, blue}}},
		"whole to background":      {[]*image.Paletted{area(red, whole), area(green, left)}, []byte{2, 0}, [][2]color.NRGBA{{red, red}, {green, none}}},
		"to previous":              {[]*image.Paletted{area(red, whole), area(green, left), area(blue, right)}, []byte{1, 3, 0}, [][2]color.NRGBA{{red, red}, {green, red}, {red, blue}}},
		"first to previous":        {[]*image.Paletted{area(red, left), area(blue, right)}, []byte{3, 0}, [][2]color.NRGBA{{red, none}, {none, blue}}},
		"previous, and once again": {[]*image.Paletted{area(red, whole), area(green, whole), area(blue, left)}, []byte{1, 3, 3}, [][2]color.NRGBA{{red, red}, {green, green}, {blue, red}}},
	} {
		g := &gif.GIF{Image: test.images, Disposal: test.disposal, Config: image.Config{Width: 8, Height: 8}}
		if got := shown(t, open(t, encode(t, g))); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestTransparentPixelsShowWhatIsBelow(t *testing.T) {
	over := area(blue, image.Rect(0, 0, 8, 8))
	for y := range 8 {
		for x := range 4 {
			over.SetColorIndex(x, y, 0)
		}
	}
	g := &gif.GIF{Image: []*image.Paletted{area(red, image.Rect(0, 0, 8, 8)), over}}
	if got := shown(t, open(t, encode(t, g))); got[1] != [2]color.NRGBA{red, blue} {
		t.Errorf("got %v", got)
	}
}

func TestDelaysAndPlays(t *testing.T) {
	frames := []*image.Paletted{area(red, image.Rect(0, 0, 2, 2)), area(red, image.Rect(0, 0, 2, 2)), area(red, image.Rect(0, 0, 2, 2))}
	for loops, plays := range map[int]int{0: 0, -1: 1, 1: 2, 9: 10} {
		a := open(t, encode(t, &gif.GIF{Image: frames, Delay: []int{0, 1, 7}, LoopCount: loops}))
		if a.Plays != plays {
			t.Errorf("loop count %d: %d plays, want %d", loops, a.Plays, plays)
		}
		if want := []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 70 * time.Millisecond}; !slices.Equal(a.Delays, want) {
			t.Errorf("delays %v, want %v", a.Delays, want)
		}
	}
}

func TestCutFiles(t *testing.T) {
	noise := image.NewPaletted(image.Rect(0, 0, 64, 64), color.Palette{red, green, blue})
	for i := range noise.Pix {
		noise.Pix[i] = byte(i * i % 7 % 3)
	}
	still := encode(t, &gif.GIF{Image: []*image.Paletted{noise}})
	two := encode(t, &gif.GIF{Image: []*image.Paletted{noise, noise}})
	frames := func(b []byte) int {
		a, err := gifanim.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return 0
		}
		return a.Frames()
	}
	for name, test := range map[string]struct {
		file []byte
		want int
	}{
		"no trailer":                   {still[:len(still)-1], 1},
		"no trailer, no terminator":    {still[:len(still)-2], 1},
		"half of it":                   {still[:len(still)/2], 0},
		"the first of two":             {two[:len(still)+20], 1},
		"two without the last's end":   {two[:len(two)-2], 2},
		"bytes behind the trailer":     {append(bytes.Clone(still), "more"...), 1},
		"something else for a trailer": {append(bytes.Clone(still[:len(still)-1]), 0x77), 1},
		"nothing but a header":         {still[:13], 0},
	} {
		if got := frames(test.file); got != test.want {
			t.Errorf("%s: %d frames, want %d", name, got, test.want)
		}
	}
}

// reads counts the reads of a file.
type reads struct {
	*bytes.Reader
	n int
}

func (r *reads) ReadAt(b []byte, at int64) (int, error) {
	r.n++
	return r.Reader.ReadAt(b, at)
}

// A limit on pixels that callers have holds before any of them is decoded.
func TestHugeFrameOfACutFileIsNotDecoded(t *testing.T) {
	file := encode(t, &gif.GIF{Image: []*image.Paletted{area(red, image.Rect(0, 0, 4, 4))}})
	at := bytes.LastIndexByte(file[:len(file)-6], 0x2C)
	copy(file[at+5:], []byte{0xFF, 0xFF, 0xFF, 0xFF})
	file = file[:len(file)-2] // before its terminator
	r := &reads{Reader: bytes.NewReader(file)}
	a, err := gifanim.Open(r, r.Size())
	if err != nil || a.Frames() != 1 || a.Painted != 0xFFFF*0xFFFF {
		t.Fatalf("%+v, %v", a, err)
	}
	if r.n > 2 { // the file, and its end
		t.Errorf("%d reads", r.n)
	}
}

// What image/gif makes of an interlaced file, since it writes none.
func TestInterlacedRowsAreWhereTheyBelong(t *testing.T) {
	for height := 1; height < 20; height++ {
		plain := image.NewPaletted(image.Rect(0, 0, 3, height), nil)
		for i := range 32 {
			plain.Palette = append(plain.Palette, color.NRGBA{byte(8 * i), 0, 0, 255})
		}
		for i := range plain.Pix {
			plain.Pix[i] = byte(i / 3)
		}
		b := encode(t, &gif.GIF{Image: []*image.Paletted{plain}})
		at := bytes.LastIndex(b[:len(b)-3*height/2], []byte{0x2C, 0, 0, 0, 0, 3, 0, byte(height), 0})
		b[at+9] |= 0x40
		want, err := gif.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		a := open(t, b)
		c := a.Canvas()
		if err := c.Next(); err != nil {
			t.Fatal(err)
		}
		for y := range height {
			if r, _, _, _ := want.At(0, y).RGBA(); byte(r>>8) != c.Pix[4*3*y] {
				t.Errorf("height %d: row %d is %d, want %d", height, y, c.Pix[4*3*y], r>>8)
			}
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(encode(f, &gif.GIF{Image: []*image.Paletted{area(red, image.Rect(0, 0, 9, 9)), area(blue, image.Rect(2, 2, 5, 5))}, Disposal: []byte{3, 2}, Delay: []int{1, 2}}))
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := gifanim.Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		if a.Frames() < 1 || len(a.Delays) != a.Frames() || a.Width < 1 || a.Height < 1 {
			t.Fatalf("%d frames, %d delays, %d × %d", a.Frames(), len(a.Delays), a.Width, a.Height)
		}
		if a.Width*a.Height*a.Frames() > 1<<20 {
			return // a limit that callers have
		}
		c := a.Canvas()
		for {
			if err := c.Next(); err != nil {
				break
			}
		}
		for i := 0; i < len(c.Pix); i += 4 {
			if p := c.Pix[i : i+4]; p[3] != 255 && (p[0] != 0 || p[1] != 0 || p[2] != 0 || p[3] != 0) {
				t.Fatalf("pixel %v", p)
			}
		}
	})
}
