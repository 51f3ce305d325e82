package imaging

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
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
	extra       []uint32     // meaning of the samples beside the colors: 0 unknown, 1 associated alpha, 2 alpha
	format      int          // of the samples: 1 unsigned, 2 signed, 3 float
	compression int
	separate    bool
	big         bool
	palette     []uint32 // 16 bits: all reds, then all greens, then all blues
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

// planes is the samples of all pixels together, or one by one.
func (f tiffFile) planes() (planes [][]byte) {
	samples := len(f.quarters[0])
	if !f.separate {
		return [][]byte{f.plane(0, samples)}
	}
	for i := range samples {
		planes = append(planes, f.plane(i, i+1))
	}
	return planes
}

// bytes is the file: a header, a strip for each plane, and their directory.
func (f tiffFile) bytes() []byte {
	out := f.header(0)
	var offsets, lengths []uint32
	for _, p := range f.planes() {
		offsets = append(offsets, uint32(len(out)))
		lengths = append(lengths, uint32(len(p)))
		out = append(out, p...)
	}
	out = append(out, make([]byte, len(out)%2)...)
	directory := len(out)
	out = append(out, f.directory(directory, f.entries(offsets, lengths))...)
	copy(out, f.header(directory))
	return out
}

// header begins a file whose directory is at an offset.
func (f tiffFile) header(directory int) []byte {
	out := []byte("II")
	if f.order.String() == "BigEndian" {
		out = []byte("MM")
	}
	if f.big {
		out = f.order.AppendUint16(out, 43)
		out = f.order.AppendUint16(out, 8) // the bytes of an offset
		out = f.order.AppendUint16(out, 0)
		return f.order.AppendUint64(out, uint64(directory))
	}
	out = f.order.AppendUint16(out, 42)
	return f.order.AppendUint32(out, uint32(directory))
}

// tiffEntry is one tag of a directory.
type tiffEntry struct {
	tag    int
	short  bool // its values are SHORT; otherwise LONG
	values []uint32
}

// entries are the tags of the file, in their order.
func (f tiffFile) entries(offsets, lengths []uint32) []tiffEntry {
	samples := len(f.quarters[0])
	one := func(v int) []uint32 { return []uint32{uint32(v)} }
	ofEachSample := func(v int) []uint32 { return slices.Repeat(one(v), samples) }
	entries := []tiffEntry{
		{256, false, one(tiffSide)},
		{257, false, one(tiffSide)},
		{258, true, ofEachSample(f.bits)},
		{259, true, one(max(1, f.compression))},
		{262, true, one(f.photometric)},
		{273, false, offsets},
		{277, true, one(samples)},
		{278, false, one(tiffSide)},
		{279, false, lengths},
		{284, true, one(map[bool]int{false: 1, true: 2}[f.separate])},
	}
	if f.palette != nil {
		entries = append(entries, tiffEntry{320, true, f.palette})
	}
	if f.extra != nil {
		entries = append(entries, tiffEntry{338, true, f.extra})
	}
	if f.format != 0 {
		entries = append(entries, tiffEntry{339, true, ofEachSample(f.format)})
	}
	for tag, v := range f.more { // one at most, or they are out of order
		entries = append(entries, tiffEntry{tag, false, []uint32{v}})
	}
	return entries
}

// directory is the directory at an offset of the file, and behind it the values
// that do not fit into their entries.
func (f tiffFile) directory(at int, entries []tiffEntry) []byte {
	word, count := 4, 2
	if f.big {
		word, count = 8, 8
	}
	directory := f.number(nil, count, len(entries))
	at += count + len(entries)*(4+2*word) + word
	var outside []byte
	for _, e := range entries {
		var values []byte
		kind, size := 4, 4
		if e.short {
			kind, size = 3, 2
		}
		for _, v := range e.values {
			values = f.number(values, size, int(v))
		}
		directory = f.number(directory, 2, e.tag)
		directory = f.number(directory, 2, kind)
		directory = f.number(directory, word, len(e.values))
		if len(values) <= word {
			directory = append(directory, append(values, make([]byte, word-len(values))...)...)
			continue
		}
		directory = f.number(directory, word, at+len(outside))
		outside = append(outside, values...)
		outside = append(outside, make([]byte, len(outside)%2)...)
	}
	return append(f.number(directory, word, 0), outside...) // no other directory follows
}

// number appends a number of 2, 4 or 8 bytes.
func (f tiffFile) number(b []byte, size, v int) []byte {
	switch size {
	case 2:
		return f.order.AppendUint16(b, uint16(v))
	case 4:
		return f.order.AppendUint32(b, uint32(v))
	default:
		return f.order.AppendUint64(b, uint64(v))
	}
}

var (
	fourColors = [4]color.NRGBA{{222, 36, 32, 255}, {34, 178, 52, 255}, {36, 58, 214, 255}, {236, 214, 40, 255}}
	fourGrays  = [4]color.NRGBA{{30, 30, 30, 255}, {210, 210, 210, 255}, {150, 150, 150, 255}, {90, 90, 90, 255}}
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

// indexed gives the four colors as places in a palette, and what they look like:
// with 1 bit the palette has room for two of them.
func indexed(bits int) (quarters [4][]float64, palette []uint32, want [4]color.NRGBA) {
	n := 1 << bits
	palette = make([]uint32, 3*n)
	for i := range fourColors {
		at := i % n
		want[i] = fourColors[at]
		quarters[i] = []float64{float64(at) / float64(n-1)}
		palette[at], palette[n+at], palette[2*n+at] = uint32(want[i].R)*257, uint32(want[i].G)*257, uint32(want[i].B)*257
	}
	return quarters, palette, want
}

// onWhite is what colors look like on a white background, as in a JPEG.
func onWhite(colors [4]color.NRGBA) [4]color.NRGBA {
	for i, c := range colors {
		a := int(c.A)
		over := func(v uint8) uint8 { return uint8((int(v)*a + 255*(255-a)) / 255) }
		colors[i] = color.NRGBA{over(c.R), over(c.G), over(c.B), 255}
	}
	return colors
}

func TestTIFFKindsAreRenderedRight(t *testing.T) {
	rgb := func(r, g, b, _ float64) []float64 { return []float64{r, g, b} }
	opaque := func(r, g, b, _ float64) []float64 { return []float64{r, g, b, 1} }
	rgba := func(r, g, b, a float64) []float64 { return []float64{r, g, b, a} }
	associated := func(r, g, b, a float64) []float64 { return []float64{r * a, g * a, b * a, a} }
	spare := func(r, g, b, _ float64) []float64 { return []float64{r, g, b, 0.2} }
	gray := func(r, _, _, _ float64) []float64 { return []float64{r} }
	inverse := func(r, _, _, _ float64) []float64 { return []float64{1 - r} }
	grayAlpha := func(r, _, _, a float64) []float64 { return []float64{r, a} }
	half := fourColors
	halfGrays := fourGrays
	for i := range half {
		half[i].A, halfGrays[i].A = 128, 128
	}
	// Colors whose Lab is known: white, black, a mid gray, and a full red.
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
	type kind struct {
		file tiffFile
		want [4]color.NRGBA
	}
	kinds := map[string]kind{
		"RGB 8":                        {tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, rgb)}, fourColors},
		"RGB 16":                       {tiffFile{photometric: 2, bits: 16, quarters: channels(fourColors, rgb)}, fourColors},
		"RGB 8, separate":              {tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, rgb), separate: true}, fourColors},
		"RGB 16, separate":             {tiffFile{photometric: 2, bits: 16, quarters: channels(fourColors, rgb), separate: true}, fourColors},
		"RGBA 8":                       {tiffFile{photometric: 2, bits: 8, quarters: channels(half, rgba), extra: []uint32{2}}, half},
		"RGBA 16":                      {tiffFile{photometric: 2, bits: 16, quarters: channels(half, rgba), extra: []uint32{2}}, half},
		"RGBA 8, opaque":               {tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, opaque), extra: []uint32{2}}, fourColors},
		"RGBA 8, associated":           {tiffFile{photometric: 2, bits: 8, quarters: channels(half, associated), extra: []uint32{1}}, half},
		"RGBA 16, associated":          {tiffFile{photometric: 2, bits: 16, quarters: channels(half, associated), extra: []uint32{1}}, half},
		"RGBA 8, separate":             {tiffFile{photometric: 2, bits: 8, quarters: channels(half, rgba), extra: []uint32{2}, separate: true}, half},
		"RGBA 16, separate":            {tiffFile{photometric: 2, bits: 16, quarters: channels(half, rgba), extra: []uint32{2}, separate: true}, half},
		"RGB 8 and a spare":            {tiffFile{photometric: 2, bits: 8, quarters: channels(fourColors, spare), extra: []uint32{0}}, fourColors},
		"RGB 16 and a spare":           {tiffFile{photometric: 2, bits: 16, quarters: channels(fourColors, spare), extra: []uint32{0}}, fourColors},
		"gray 8":                       {tiffFile{photometric: 1, bits: 8, quarters: channels(fourGrays, gray)}, fourGrays},
		"gray 16":                      {tiffFile{photometric: 1, bits: 16, quarters: channels(fourGrays, gray)}, fourGrays},
		"gray 8, white is 0":           {tiffFile{photometric: 0, bits: 8, quarters: channels(fourGrays, inverse)}, fourGrays},
		"gray 16, white is 0":          {tiffFile{photometric: 0, bits: 16, quarters: channels(fourGrays, inverse)}, fourGrays},
		"gray alpha 8":                 {tiffFile{photometric: 1, bits: 8, quarters: channels(halfGrays, grayAlpha), extra: []uint32{2}}, halfGrays},
		"gray alpha 16":                {tiffFile{photometric: 1, bits: 16, quarters: channels(halfGrays, grayAlpha), extra: []uint32{2}}, halfGrays},
		"gray alpha 8, separate":       {tiffFile{photometric: 1, bits: 8, quarters: channels(halfGrays, grayAlpha), extra: []uint32{2}, separate: true}, halfGrays},
		"gray alpha 16, separate":      {tiffFile{photometric: 1, bits: 16, quarters: channels(halfGrays, grayAlpha), extra: []uint32{2}, separate: true}, halfGrays},
		"gray opaque 8, separate":      {tiffFile{photometric: 1, bits: 8, quarters: channels(fourGrays, grayAlpha), extra: []uint32{2}, separate: true}, fourGrays},
		"gray opaque 16, separate":     {tiffFile{photometric: 1, bits: 16, quarters: channels(fourGrays, grayAlpha), extra: []uint32{2}, separate: true}, fourGrays},
		"bilevel, separate":            {tiffFile{photometric: 1, bits: 1, quarters: channels(bilevel, gray), separate: true}, bilevel},
		"gray 4, separate":             {tiffFile{photometric: 1, bits: 4, quarters: channels(steps, gray), separate: true}, steps},
		"gray 8, separate":             {tiffFile{photometric: 1, bits: 8, quarters: channels(fourGrays, gray), separate: true}, fourGrays},
		"gray 2, white is 0, separate": {tiffFile{photometric: 0, bits: 2, quarters: channels(steps, inverse), separate: true}, steps},
		"bilevel":                      {tiffFile{photometric: 1, bits: 1, quarters: channels(bilevel, gray)}, bilevel},
		"bilevel, white is 0":          {tiffFile{photometric: 0, bits: 1, quarters: channels(bilevel, inverse)}, bilevel},
		"gray 2":                       {tiffFile{photometric: 1, bits: 2, quarters: channels(steps, gray)}, steps},
		"gray 2, white is 0":           {tiffFile{photometric: 0, bits: 2, quarters: channels(steps, inverse)}, steps},
		"gray 4":                       {tiffFile{photometric: 1, bits: 4, quarters: channels(steps, gray)}, steps},
		"gray 4, white is 0":           {tiffFile{photometric: 0, bits: 4, quarters: channels(steps, inverse)}, steps},
		"Lab 8":                        {tiffFile{photometric: 8, bits: 8, quarters: labs}, labColors},
		"Lab 8 of saturated colors":    {tiffFile{photometric: 8, bits: 8, quarters: labFour}, fourColors},
		"Lab 8 of saturated colors with an alpha": {tiffFile{photometric: 8, bits: 8, quarters: labFourAlphas, extra: []uint32{2}}, fourColors},
		"Lab 8 with an opaque alpha":              {tiffFile{photometric: 8, bits: 8, quarters: labAlphas, extra: []uint32{2}}, labColors},
	}
	for _, bits := range []int{1, 2, 4, 8} {
		quarters, palette, want := indexed(bits)
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
					wantQuarters(t, c, "40.jpg", onWhite(k.want), 14)
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
	labAlpha := [4][]float64{{1, 0, 0, 1}, {0, 0, 0, 1}, {0.5, 0, 0, 1}, {0.5, 0.3, 0.3, 1}}
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
		"grayscale, 8 bits per sample, 1+2 samples, compression 1, separate planes": {photometric: 1, bits: 8, quarters: three, extra: []uint32{2, 0}, separate: true},
		"grayscale with associated alpha":                                           {photometric: 1, bits: 16, quarters: two, extra: []uint32{1}, separate: true},
		"CIE Lab with associated alpha":                                             {photometric: 8, bits: 8, quarters: labAlpha, extra: []uint32{1}},
		"interpretation 32844":                                                      {photometric: 32844, bits: 16, quarters: one},
		"old-style":                                                                 {photometric: 6, bits: 8, quarters: three, compression: 6},
		"compression 34661":                                                         {photometric: 1, bits: 1, quarters: one, compression: 34661},
		"Camera raw":                                                                {photometric: 2, bits: 8, quarters: three, more: map[int]uint32{50706: 0x01040000}},
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
	gray := [4][]float64{{0.1}, {0.8}, {0.6}, {0.3}}
	thumbnail := tiffFile{photometric: 1, bits: 8, quarters: gray, order: binary.LittleEndian}
	raw := tiffFile{photometric: 32803, bits: 16, quarters: gray, order: binary.LittleEndian}
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
