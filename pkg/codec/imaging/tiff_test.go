package imaging

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// tiffFile is a TIFF that the tests write themselves, so that what each sample
// means is known. It has four colors, one in each quarter.
type tiffFile struct {
	photometric int
	bits        int
	quarters    [4][]float64 // samples from 0 to 1: top left, top right, bottom left, bottom right
	extra       []int        // meaning of the samples beside the colors: 0 unknown, 1 associated alpha, 2 alpha
	format      int          // of the samples: 1 unsigned, 2 signed, 3 float
	compression int
	separate    bool
	big         bool
	palette     []uint16
	order       binary.AppendByteOrder
	more        map[int]uint32 // other tags, as LONG
}

const tiffSide = 40

// quarter is which of the four a pixel is in.
func quarter(x, y int) int { return x/(tiffSide/2) + 2*(y/(tiffSide/2)) }

// plane is the samples from first to last of all pixels, packed.
func (f tiffFile) plane(first, last int) []byte {
	var out []byte
	for y := range tiffSide {
		var acc, have uint64
		for x := range tiffSide {
			for _, v := range f.quarters[quarter(x, y)][first:last] {
				switch {
				case f.format == 3:
					out = f.order.AppendUint32(out, math.Float32bits(float32(v)))
				case f.bits == 16:
					out = f.order.AppendUint16(out, uint16(math.Round(v*65535)))
				case f.bits == 32:
					out = f.order.AppendUint32(out, uint32(math.Round(v*math.MaxUint32)))
				default:
					acc = acc<<f.bits | uint64(math.Round(v*float64(uint(1)<<f.bits-1)))
					if have += uint64(f.bits); have >= 8 {
						have -= 8
						out = append(out, byte(acc>>have))
					}
				}
			}
		}
		if have > 0 {
			out = append(out, byte(acc<<(8-have)))
		}
	}
	return out
}

// bytes is the file, of one strip, or one in each plane.
func (f tiffFile) bytes() []byte {
	samples := len(f.quarters[0])
	planes := [][]byte{}
	if f.separate {
		for i := range samples {
			planes = append(planes, f.plane(i, i+1))
		}
	} else {
		planes = append(planes, f.plane(0, samples))
	}
	out := []byte("II")
	if f.order.String() == "BigEndian" {
		out = []byte("MM")
	}
	if f.big {
		out = f.order.AppendUint16(out, 43)
		out = f.order.AppendUint16(out, 8)
		out = f.order.AppendUint16(out, 0)
		out = f.order.AppendUint64(out, 0) // the directory's offset comes in here
	} else {
		out = f.order.AppendUint16(out, 42)
		out = f.order.AppendUint32(out, 0)
	}
	var offsets, lengths []uint32
	for _, p := range planes {
		offsets = append(offsets, uint32(len(out)))
		lengths = append(lengths, uint32(len(p)))
		out = append(out, p...)
	}
	out = append(out, make([]byte, len(out)%2)...)
	type entry struct {
		tag    int
		short  bool
		values []uint32
	}
	all := func(v, n int) (values []uint32) {
		for range n {
			values = append(values, uint32(v))
		}
		return values
	}
	entries := []entry{
		{256, false, all(tiffSide, 1)},
		{257, false, all(tiffSide, 1)},
		{258, true, all(f.bits, samples)},
		{259, true, all(max(1, f.compression), 1)},
		{262, true, all(f.photometric, 1)},
		{273, false, offsets},
		{277, true, all(samples, 1)},
		{278, false, all(tiffSide, 1)},
		{279, false, lengths},
		{284, true, all(map[bool]int{false: 1, true: 2}[f.separate], 1)},
	}
	if f.palette != nil {
		e := entry{320, true, nil}
		for _, v := range f.palette {
			e.values = append(e.values, uint32(v))
		}
		entries = append(entries, e)
	}
	if f.extra != nil {
		e := entry{338, true, nil}
		for _, v := range f.extra {
			e.values = append(e.values, uint32(v))
		}
		entries = append(entries, e)
	}
	if f.format != 0 {
		entries = append(entries, entry{339, true, all(f.format, samples)})
	}
	for tag, v := range f.more { // one at most, or they are out of order
		entries = append(entries, entry{tag, false, []uint32{v}})
	}
	word, count := 4, 2
	if f.big {
		word, count = 8, 8
	}
	number := func(b []byte, size int, v uint64) []byte {
		switch size {
		case 2:
			return f.order.AppendUint16(b, uint16(v))
		case 4:
			return f.order.AppendUint32(b, uint32(v))
		default:
			return f.order.AppendUint64(b, v)
		}
	}
	directory := number(nil, count, uint64(len(entries)))
	at := len(out) + count + len(entries)*(4+2*word) + word // of values that do not fit
	var outside []byte
	for _, e := range entries {
		var values []byte
		kind, size := 4, 4
		if e.short {
			kind, size = 3, 2
		}
		for _, v := range e.values {
			values = number(values, size, uint64(v))
		}
		directory = number(directory, 2, uint64(e.tag))
		directory = number(directory, 2, uint64(kind))
		directory = number(directory, word, uint64(len(e.values)))
		if len(values) <= word {
			directory = append(directory, append(values, make([]byte, word-len(values))...)...)
			continue
		}
		directory = number(directory, word, uint64(at+len(outside)))
		outside = append(outside, values...)
		outside = append(outside, make([]byte, len(outside)%2)...)
	}
	directory = number(directory, word, 0)
	if f.big {
		copy(out[8:], number(nil, 8, uint64(len(out))))
	} else {
		copy(out[4:], number(nil, 4, uint64(len(out))))
	}
	return append(append(out, directory...), outside...)
}

var (
	fourColors = [4]color.NRGBA{{222, 36, 32, 255}, {34, 178, 52, 255}, {36, 58, 214, 255}, {236, 214, 40, 255}}
	fourGreys  = [4]color.NRGBA{{30, 30, 30, 255}, {210, 210, 210, 255}, {150, 150, 150, 255}, {90, 90, 90, 255}}
)

// wantQuarters fails unless each quarter of an image has its color.
func wantQuarters(t *testing.T, c *collector, name string, want [4]color.NRGBA, tolerance int) {
	t.Helper()
	b, ok := c.files[name]
	if !ok {
		t.Errorf("no %s: %v", name, c.order)
		return
	}
	m := pixelsOf(t, name, b)
	w, h := m.Rect.Dx(), m.Rect.Dy()
	for i, color := range want {
		for _, d := range [][2]int{{0, 0}, {0, 1}, {1, 2}} { // near each other: stripes would show
			wantColor(t, m, w/5+i%2*w*3/5+d[0], h/5+i/2*h*3/5+d[1], color, tolerance)
		}
	}
}

// channels gives the quarters of colors as samples.
func channels(of [4]color.NRGBA, samples func(r, g, b, a float64) []float64) (out [4][]float64) {
	for i, c := range of {
		out[i] = samples(float64(c.R)/255, float64(c.G)/255, float64(c.B)/255, float64(c.A)/255)
	}
	return out
}

func TestTIFFKindsAreRenderedRight(t *testing.T) {
	rgb := func(r, g, b, _ float64) []float64 { return []float64{r, g, b} }
	opaque := func(r, g, b, _ float64) []float64 { return []float64{r, g, b, 1} }
	rgba := func(r, g, b, a float64) []float64 { return []float64{r, g, b, a} }
	associated := func(r, g, b, a float64) []float64 { return []float64{r * a, g * a, b * a, a} }
	spare := func(r, g, b, _ float64) []float64 { return []float64{r, g, b, 0.2} }
	grey := func(r, _, _, _ float64) []float64 { return []float64{r} }
	inverse := func(r, _, _, _ float64) []float64 { return []float64{1 - r} }
	greyAlpha := func(r, _, _, a float64) []float64 { return []float64{r, a} }
	half := fourColors
	halfGreys := fourGreys
	for i := range half {
		half[i].A, halfGreys[i].A = 128, 128
	}
	// Colors whose Lab is known: white, black, a mid grey, and a full red.
	labs := [4][]float64{
		{1, 0, 0},
		{0, 0, 0},
		{137. / 255, 0, 0},
		{136. / 255, 80. / 255, 67. / 255}, // a and b have signs
	}
	labColors := [4]color.NRGBA{{255, 255, 255, 255}, {0, 0, 0, 255}, {128, 128, 128, 255}, {255, 2, 2, 255}}
	// The four colors in Lab relative to D50, by lcms.
	labFour := [4][]float64{
		{125. / 255, 69. / 255, 52. / 255},
		{163. / 255, 200. / 255, 50. / 255},
		{84. / 255, 39. / 255, 173. / 255},
		{218. / 255, 252. / 255, 79. / 255},
	}
	var labAlphas, labFourAlphas [4][]float64
	for i := range labs {
		labAlphas[i] = append(append([]float64{}, labs[i]...), 1)
		labFourAlphas[i] = append(append([]float64{}, labFour[i]...), 1)
	}
	bilevel := [4]color.NRGBA{{0, 0, 0, 255}, {255, 255, 255, 255}, {255, 255, 255, 255}, {0, 0, 0, 255}}
	steps := [4]color.NRGBA{{0, 0, 0, 255}, {255, 255, 255, 255}, {170, 170, 170, 255}, {85, 85, 85, 255}}
	index := func(bits int) (quarters [4][]float64, palette []uint16) {
		n := 1 << bits
		palette = make([]uint16, 3*n)
		for i, c := range fourColors {
			at := i
			if bits == 1 {
				at = i % 2
			}
			quarters[i] = []float64{float64(at) / float64(n-1)}
			if at == i {
				palette[at], palette[n+at], palette[2*n+at] = uint16(c.R)*257, uint16(c.G)*257, uint16(c.B)*257
			}
		}
		return quarters, palette
	}
	twoColors := [4]color.NRGBA{fourColors[0], fourColors[1], fourColors[0], fourColors[1]}

	type kind struct {
		file tiffFile
		want [4]color.NRGBA
	}
	kinds := map[string]kind{
		"RGB 8":                        {tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, rgb)}, fourColors},
		"RGB 16":                       {tiffFile{photometric: 2, bits: 16, quarters: channels(fourColors, rgb)}, fourColors},
		"RGB 8, separate":              {tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, rgb), separate: true}, fourColors},
		"RGB 16, separate":             {tiffFile{photometric: 2, bits: 16, quarters: channels(fourColors, rgb), separate: true}, fourColors},
		"RGBA 8":                       {tiffFile{photometric: 2, bits: 8, quarters: channels(half, rgba), extra: []int{2}}, half},
		"RGBA 16":                      {tiffFile{photometric: 2, bits: 16, quarters: channels(half, rgba), extra: []int{2}}, half},
		"RGBA 8, opaque":               {tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, opaque), extra: []int{2}}, fourColors},
		"RGBA 8, associated":           {tiffFile{photometric: 2, bits: 8, quarters: channels(half, associated), extra: []int{1}}, half},
		"RGBA 16, associated":          {tiffFile{photometric: 2, bits: 16, quarters: channels(half, associated), extra: []int{1}}, half},
		"RGBA 8, separate":             {tiffFile{photometric: 2, bits: 8, quarters: channels(half, rgba), extra: []int{2}, separate: true}, half},
		"RGBA 16, separate":            {tiffFile{photometric: 2, bits: 16, quarters: channels(half, rgba), extra: []int{2}, separate: true}, half},
		"RGB 8 and a spare":            {tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, spare), extra: []int{0}}, fourColors},
		"RGB 16 and a spare":           {tiffFile{photometric: 2, bits: 16, quarters: channels(fourColors, spare), extra: []int{0}}, fourColors},
		"grey 8":                       {tiffFile{photometric: 1, bits: 8, quarters: channels(fourGreys, grey)}, fourGreys},
		"grey 16":                      {tiffFile{photometric: 1, bits: 16, quarters: channels(fourGreys, grey)}, fourGreys},
		"grey 8, white is 0":           {tiffFile{photometric: 0, bits: 8, quarters: channels(fourGreys, inverse)}, fourGreys},
		"grey 16, white is 0":          {tiffFile{photometric: 0, bits: 16, quarters: channels(fourGreys, inverse)}, fourGreys},
		"grey alpha 8":                 {tiffFile{photometric: 1, bits: 8, quarters: channels(halfGreys, greyAlpha), extra: []int{2}}, halfGreys},
		"grey alpha 16":                {tiffFile{photometric: 1, bits: 16, quarters: channels(halfGreys, greyAlpha), extra: []int{2}}, halfGreys},
		"grey alpha 8, separate":       {tiffFile{photometric: 1, bits: 8, quarters: channels(halfGreys, greyAlpha), extra: []int{2}, separate: true}, halfGreys},
		"grey alpha 16, separate":      {tiffFile{photometric: 1, bits: 16, quarters: channels(halfGreys, greyAlpha), extra: []int{2}, separate: true}, halfGreys},
		"grey opaque 8, separate":      {tiffFile{photometric: 1, bits: 8, quarters: channels(fourGreys, greyAlpha), extra: []int{2}, separate: true}, fourGreys},
		"grey opaque 16, separate":     {tiffFile{photometric: 1, bits: 16, quarters: channels(fourGreys, greyAlpha), extra: []int{2}, separate: true}, fourGreys},
		"bilevel, separate":            {tiffFile{photometric: 1, bits: 1, quarters: channels(bilevel, grey), separate: true}, bilevel},
		"grey 4, separate":             {tiffFile{photometric: 1, bits: 4, quarters: channels(steps, grey), separate: true}, steps},
		"grey 8, separate":             {tiffFile{photometric: 1, bits: 8, quarters: channels(fourGreys, grey), separate: true}, fourGreys},
		"grey 2, white is 0, separate": {tiffFile{photometric: 0, bits: 2, quarters: channels(steps, inverse), separate: true}, steps},
		"bilevel":                      {tiffFile{photometric: 1, bits: 1, quarters: channels(bilevel, grey)}, bilevel},
		"bilevel, white is 0":          {tiffFile{photometric: 0, bits: 1, quarters: channels(bilevel, inverse)}, bilevel},
		"grey 2":                       {tiffFile{photometric: 1, bits: 2, quarters: channels(steps, grey)}, steps},
		"grey 2, white is 0":           {tiffFile{photometric: 0, bits: 2, quarters: channels(steps, inverse)}, steps},
		"grey 4":                       {tiffFile{photometric: 1, bits: 4, quarters: channels(steps, grey)}, steps},
		"grey 4, white is 0":           {tiffFile{photometric: 0, bits: 4, quarters: channels(steps, inverse)}, steps},
		"Lab 8":                        {tiffFile{photometric: 8, bits: 8, quarters: labs}, labColors},
		"Lab 8 of saturated colors":    {tiffFile{photometric: 8, bits: 8, quarters: labFour}, fourColors},
		"Lab 8 of saturated colors with an alpha": {tiffFile{photometric: 8, bits: 8, quarters: labFourAlphas, extra: []int{2}}, fourColors},
		"Lab 8 with an opaque alpha":              {tiffFile{photometric: 8, bits: 8, quarters: labAlphas, extra: []int{2}}, labColors},
	}
	for _, bits := range []int{1, 2, 4, 8} {
		quarters, palette := index(bits)
		want := fourColors
		if bits == 1 {
			want = twoColors
		}
		for _, separate := range []bool{false, true} {
			f := tiffFile{photometric: 3, bits: bits, quarters: quarters, palette: palette, separate: separate}
			kinds[fmt.Sprintf("palette %d, separate %v", bits, separate)] = kind{f, want}
		}
	}
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
				for _, big := range []bool{false, true} {
					k.file.order, k.file.big = order, big
					path := file(t, fmt.Sprintf("%v-%v.tif", order, big), k.file.bytes())
					c, _, err := tryRender(t, path, recipe(defaultFormats, tiffSide), generous)
					if err != nil {
						t.Errorf("%s: %v", filepath.Base(path), err)
						continue
					}
					if k.want[0].A < 255 && !big && order == binary.BigEndian {
						wantQuarters(t, c, "40.webp", k.want, 14)
					}
					onWhite := k.want
					for i, c := range onWhite {
						a := int(c.A)
						over := func(v uint8) uint8 { return uint8((int(v)*a + 255*(255-a)) / 255) }
						onWhite[i] = color.NRGBA{over(c.R), over(c.G), over(c.B), 255}
					}
					wantQuarters(t, c, "40.jpg", onWhite, 14)
				}
			}
		})
	}
}

func TestTIFFOfCMYKIsRenderedRight(t *testing.T) {
	inks := [4][]float64{{0, 1, 1, 0}, {1, 0, 1, 0}, {1, 1, 0, 0}, {0, 0, 0, 0}}
	for _, bits := range []int{8, 16} {
		for _, separate := range []bool{false, true} {
			f := tiffFile{photometric: 5, bits: bits, quarters: inks, separate: separate, order: binary.BigEndian}
			c, _ := render(t, file(t, "cmyk.tif", f.bytes()), recipe(defaultFormats, tiffSide))
			m := pixelsOf(t, "40.jpg", c.files["40.jpg"])
			for i, hue := range []func(c color.NRGBA) bool{
				func(c color.NRGBA) bool { return c.R > c.G+100 && c.R > c.B+100 },
				func(c color.NRGBA) bool { return c.G > c.R+60 && c.G > c.B+40 },
				func(c color.NRGBA) bool { return c.B > c.R+60 && c.B > c.G+40 },
				func(c color.NRGBA) bool { return c.R > 240 && c.G > 240 && c.B > 240 },
			} {
				if c := m.NRGBAAt(8+i%2*24, 8+i/2*24); !hue(c) {
					t.Errorf("%d bits, separate %v: quarter %d is %v", bits, separate, i, c)
				}
			}
		}
	}
}

func TestTIFFCompressionsAreRenderedRight(t *testing.T) {
	f := tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, func(r, g, b, _ float64) []float64 { return []float64{r, g, b} }), order: binary.LittleEndian}
	plain := file(t, "plain.tif", f.bytes())
	f = tiffFile{photometric: 0, bits: 1, quarters: [4][]float64{{1}, {0}, {0}, {1}}, order: binary.LittleEndian}
	bilevel := file(t, "bilevel.tif", f.bytes())
	for _, args := range [][]string{
		{"lzw"},
		{"deflate"},
		{"packbits"},
		{"zstd"},
		{"jpeg", "--Q", "95"},
		{"lzw", "--predictor", "horizontal"},
		{"deflate", "--tile", "--tile-width", "16", "--tile-height", "16"},
		{"jpeg", "--Q", "95", "--tile", "--tile-width", "16", "--tile-height", "16"},
		{"none", "--bigtiff"},
	} {
		out := filepath.Join(t.TempDir(), strings.Join(args, "")+".tif")
		vips(t, append([]string{"tiffsave", plain, out, "--compression"}, args...)...)
		c, _ := render(t, out, recipe(defaultFormats, tiffSide))
		wantQuarters(t, c, "40.jpg", fourColors, 14)
	}
	out := filepath.Join(t.TempDir(), "fax.tif")
	vips(t, "tiffsave", bilevel, out, "--compression", "ccittfax4", "--bitdepth", "1")
	c, _ := render(t, out, recipe(defaultFormats, tiffSide))
	wantQuarters(t, c, "40.jpg", [4]color.NRGBA{{0, 0, 0, 255}, {255, 255, 255, 255}, {255, 255, 255, 255}, {0, 0, 0, 255}}, 14)
}

func TestTIFFKindsThatAreNotProvenAreRefusedByName(t *testing.T) {
	three := [4][]float64{{0.9, 0.1, 0.1}, {0.1, 0.7, 0.2}, {0.1, 0.2, 0.8}, {0.9, 0.8, 0.1}}
	one := [4][]float64{{0.1}, {0.8}, {0.6}, {0.3}}
	two := [4][]float64{{0.1, 0.5}, {0.4, 0.5}, {0.3, 0.5}, {0.2, 0.5}}
	four := [4][]float64{{0, 1, 1, 0}, {1, 0, 1, 0}, {1, 1, 0, 0}, {0, 0, 0, 0}}
	for want, f := range map[string]tiffFile{
		"YCbCr, 8 bits":      {photometric: 6, bits: 8, quarters: three},
		"separate planes":    {photometric: 6, bits: 8, quarters: three, separate: true},
		"RGB, 32 bits":       {photometric: 2, bits: 32, quarters: three},
		"grayscale, 32 bits": {photometric: 1, bits: 32, quarters: one},
		"grayscale, 12 bits": {photometric: 1, bits: 12, quarters: one},
		"RGB, 4 bits":        {photometric: 2, bits: 4, quarters: three},
		"signed":             {photometric: 2, bits: 8, quarters: three, format: 2},
		"floating-point":     {photometric: 2, bits: 32, quarters: three, format: 3},
		"CMYK, 32 bits":      {photometric: 5, bits: 32, quarters: four},
		"inks other than":    {photometric: 5, bits: 8, quarters: four, more: map[int]uint32{332: 2}},
		"CIE Lab, 16 bits":   {photometric: 8, bits: 16, quarters: three},
		"grayscale, 8 bits a sample, 1+2 samples, compression 1, separate planes": {photometric: 1, bits: 8, quarters: three, extra: []int{2, 0}, separate: true},
		"grayscale with associated alpha":                                         {photometric: 1, bits: 16, quarters: two, extra: []int{1}, separate: true},
		"interpretation 32844":                                                    {photometric: 32844, bits: 16, quarters: one},
		"old style":                                                               {photometric: 6, bits: 8, quarters: three, compression: 6},
		"compression 34661":                                                       {photometric: 1, bits: 1, quarters: one, compression: 34661},
		"Camera raw":                                                              {photometric: 2, bits: 8, quarters: three, more: map[int]uint32{50706: 0x01040000}},
	} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			f.order = order
			c := wantFault(t, file(t, "x.tif", f.bytes()), generous, fault.UnsupportedFormat)
			if c.opened != nil {
				t.Errorf("%s was opened", want)
			}
			_, _, err := tryRender(t, file(t, "x.tif", f.bytes()), recipe(defaultFormats, 50), generous)
			if detail := fault.From(err).Detail; !strings.Contains(detail, want) {
				t.Errorf("detail %q does not name %q", detail, want)
			}
		}
	}
}

// A camera's raw file has its samples in a directory of its own, and a
// thumbnail in the first.
func TestRawBehindAThumbnailIsRefused(t *testing.T) {
	grey := [4][]float64{{0.1}, {0.8}, {0.6}, {0.3}}
	thumbnail := tiffFile{photometric: 1, bits: 8, quarters: grey, order: binary.LittleEndian}
	raw := tiffFile{photometric: 32803, bits: 16, quarters: grey, order: binary.LittleEndian}
	// The raw file's offsets move by what is put before it, of which only that of
	// its directory matters here.
	first := thumbnail.bytes()
	second := raw.bytes()
	directory := uint32(len(first)) + binary.LittleEndian.Uint32(second[4:])
	thumbnail.more = map[int]uint32{330: directory + 12} // one entry more in the first
	asSubIFD := append(thumbnail.bytes(), second...)
	asNext := append(bytes.Clone(first), second...)
	at := binary.LittleEndian.Uint32(asNext[4:])
	at += 2 + 12*uint32(binary.LittleEndian.Uint16(asNext[at:]))
	binary.LittleEndian.PutUint32(asNext[at:], directory)
	for name, b := range map[string][]byte{"SubIFD.tif": asSubIFD, "next.tif": asNext} {
		wantFault(t, file(t, name, b), generous, fault.UnsupportedFormat)
	}
}
