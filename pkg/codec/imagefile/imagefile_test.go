package imagefile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
)

func ftyp(brands string) string {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(8+len(brands))), "ftyp"+brands+"\x00\x00\x00\x08meta"...)
	return string(b)
}

func TestSniff(t *testing.T) {
	for name, test := range map[string]struct{ head, want string }{
		"JPEG, JFIF":             {"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "jpeg"},
		"JPEG, EXIF":             {"\xff\xd8\xff\xe1\x00\x10Exif\x00", "jpeg"},
		"JPEG, bare":             {"\xff\xd8\xff\xdb\x00\x43", "jpeg"},
		"PNG":                    {"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "png"},
		"APNG":                   {"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR12345678\x08\x06\x00\x00\x00....\x00\x00\x00\x08acTL", "png"},
		"WebP, lossy":            {"RIFF\x24\x00\x00\x00WEBPVP8 ", "webp"},
		"WebP, lossless":         {"RIFF\x24\x00\x00\x00WEBPVP8L", "webp"},
		"WebP, extended":         {"RIFF\x24\x00\x00\x00WEBPVP8X", "webp"},
		"GIF 87a":                {"GIF87a\x01\x00\x01\x00", "gif"},
		"GIF 89a":                {"GIF89a\x01\x00\x01\x00", "gif"},
		"TIFF, little-endian":    {"II*\x00\x08\x00\x00\x00", "tiff"},
		"TIFF, big-endian":       {"MM\x00*\x00\x00\x00\x08", "tiff"},
		"BigTIFF, little-endian": {"II+\x00\x08\x00\x00\x00", "tiff"},
		"BigTIFF, big-endian":    {"MM\x00+\x00\x08\x00\x00", "tiff"},
		"HEIC":                   {ftyp("heic\x00\x00\x00\x00mif1heic"), "heic"},
		"HEIC, general brand":    {ftyp("mif1\x00\x00\x00\x00mif1heic"), "heic"},
		"HEIC, ten bits":         {ftyp("heix\x00\x00\x00\x00mif1heix"), "heic"},
		"HEIC, sequence":         {ftyp("hevc\x00\x00\x00\x00msf1hevc"), "heic"},
		"HEIC, brand second":     {ftyp("MiHE\x00\x00\x00\x00heic"), "heic"},
		"AVIF":                   {ftyp("avif\x00\x00\x00\x00mif1miaf"), "avif"},
		"AVIF, brand repeated":   {ftyp("avif\x00\x00\x00\x00avifmif1miaf"), "avif"},
		"AVIF, sequence":         {ftyp("avis\x00\x00\x00\x00msf1miaf"), "avif"},
		"AVIF, brand second":     {ftyp("mif1\x00\x00\x00\x00avifmiaf"), "avif"},
		"film":                   {ftyp("isom\x00\x00\x00\x00mp42"), ""},
		"version is a brand":     {ftyp("isomheic"), ""},
		"Canon's raw CR3":        {ftyp("crx \x00\x00\x00\x01crx isom"), ""},
		"Olympus' raw":           {"IIRO\x08\x00\x00\x00", ""},
		"Panasonic's raw":        {"IIU\x00\x18\x00\x00\x00", ""},
		"WAV":                    {"RIFF\x24\x00\x00\x00WAVEfmt ", ""},
		"BMP":                    {"BM\x00\x00\x00\x00", ""},
		"SVG":                    {"<svg xmlns='http://www.w3.org/2000/svg'/>", ""},
		"PDF":                    {"%PDF-1.7", ""},
		"JPEG XL":                {"\xff\x0a", ""},
		"zeros":                  {string(make([]byte, 64)), ""},
		"nothing":                {"", ""},
		"too short":              {"\x89PNG", ""},
	} {
		got, ok := imagefile.Sniff([]byte(test.head))
		if got != test.want || ok != (test.want != "") {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// field is an entry of a TIFF's directory, whose value is inline.
type field struct {
	tag, kind uint16
	count     uint32
	value     uint32 // for a SHORT, as such
}

// tiff is a TIFF of one directory, as an EXIF block is.
func tiff(order binary.AppendByteOrder, fields ...field) []byte {
	b := []byte("II")
	if order.String() == "BigEndian" {
		b = []byte("MM")
	}
	b = order.AppendUint16(b, 42)
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = order.AppendUint16(b, f.tag)
		b = order.AppendUint16(b, f.kind)
		b = order.AppendUint32(b, f.count)
		if f.kind == 3 {
			b = order.AppendUint16(b, uint16(f.value))
			b = order.AppendUint16(b, 0)
		} else {
			b = order.AppendUint32(b, f.value)
		}
	}
	return order.AppendUint32(b, 0)
}

const (
	short = 3
	long  = 4
)

func segment(marker byte, body string) string {
	return "\xff" + string([]byte{marker, byte((len(body) + 2) >> 8), byte(len(body) + 2)}) + body
}

// withSegments is a small JPEG with segments behind its start.
func withSegments(t *testing.T, segments ...string) string {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	return s[:2] + strings.Join(segments, "") + s[2:]
}

func inspect(t *testing.T, file, format string) imagefile.Info {
	t.Helper()
	info, err := imagefile.Inspect(strings.NewReader(file), int64(len(file)), format)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// containers put an EXIF block into a file of each format that has one.
func containers(t *testing.T) map[string]func(exif string) string {
	return map[string]func(string) string{
		imagefile.JPEG: func(e string) string { return withSegments(t, segment(0xE1, "Exif\x00\x00"+e)) },
		imagefile.PNG: func(e string) string {
			size := binary.BigEndian.AppendUint32(nil, uint32(len(e)))
			return "\x89PNG\r\n\x1a\n\x00\x00\x00\x00IDAT----" + string(size) + "eXIf" + e + "----\x00\x00\x00\x00IEND----"
		},
		imagefile.WebP: func(e string) string {
			size := binary.LittleEndian.AppendUint32(nil, uint32(len(e)))
			return "RIFF----WEBPVP8 \x03\x00\x00\x00abc\x00EXIF" + string(size) + e
		},
	}
}

func TestLosslessWebP(t *testing.T) {
	const extended = "VP8X\x0a\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x01\x00\x00"
	frame := func(image string) string { return "ANMF\x1c\x00\x00\x00" + strings.Repeat("-", 16) + image }
	const lossy, lossless = "VP8 \x03\x00\x00\x00abc\x00", "VP8L\x03\x00\x00\x00abc\x00"
	for name, test := range map[string]struct {
		chunks string
		want   bool
	}{
		"lossy":                  {lossy, false},
		"lossless":               {lossless, true},
		"with metadata before":   {extended + "ICCP\x01\x00\x00\x00a\x00" + lossless, true},
		"alpha alone is":         {extended + "ALPH\x01\x00\x00\x00a\x00" + lossy, false},
		"lossy frames":           {extended + frame(lossy) + frame(lossy), false},
		"the last frame is":      {extended + frame(lossy) + frame(lossless), true},
		"orientation behind all": {extended + lossless + "EXIF\x00\x00\x00\x00", true},
	} {
		if got := inspect(t, "RIFF----WEBP"+test.chunks, imagefile.WebP).Lossless; got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestOrientationIsReadAroundDamage(t *testing.T) {
	thumbnail := []field{{513, long, 1, 0x7fffffff}, {514, long, 1, 0x7fffffff}}
	for name, fields := range map[string][]field{
		"alone":                 {{274, short, 1, 6}},
		"as LONG":               {{274, long, 1, 6}},
		"thumbnail tags before": append(thumbnail, field{274, short, 1, 6}),
		"tags out of order":     {{531, short, 1, 1}, {274, short, 1, 6}, {271, short, 1, 1}},
		"huge text before":      {{270, 2, 0x80000000, 0x7fffffff}, {274, short, 1, 6}},
		"unknown type before":   {{270, 99, 1, 7}, {274, short, 1, 6}},
		"count of none":         {{274, short, 0, 6}},
		"an invalid one before": {{274, short, 1, 9}, {274, short, 1, 6}},
	} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			block := string(tiff(order, fields...))
			for format, file := range containers(t) {
				if got := inspect(t, file(block), format).Orientation; got != 6 {
					t.Errorf("%s, %v, in %s: %d", name, order, format, got)
				}
			}
		}
	}
}

func TestOrientationOfABrokenBlockIsReadAsFarAsItGoes(t *testing.T) {
	whole := string(tiff(binary.BigEndian, field{274, short, 1, 6}, field{282, 5, 1, 100}))
	for name, file := range containers(t) {
		if got := inspect(t, file(whole[:8+2+12]), name).Orientation; got != 6 {
			t.Errorf("a block cut behind the orientation, in %s: %d", name, got)
		}
		for _, block := range []string{"", "M", "MM\x00*", "XX\x00*\x00\x00\x00\x08", "MM\x00*\xff\xff\xff\xff", whole[:8+2+6]} {
			if got := inspect(t, file(block), name).Orientation; got != 1 {
				t.Errorf("%q, in %s: %d, want 1", block, name, got)
			}
		}
	}
}

func TestJPEGTakesTheFirstEXIFThatHasAnOrientation(t *testing.T) {
	exif := func(o uint32) string {
		return segment(0xE1, "Exif\x00\x00"+string(tiff(binary.LittleEndian, field{274, short, 1, o})))
	}
	xmp := segment(0xE1, "http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta tiff:Orientation='3'/>")
	none := segment(0xE1, "Exif\x00\x00"+string(tiff(binary.LittleEndian)))
	for name, test := range map[string]struct {
		segments []string
		want     int
	}{
		"XMP before":     {[]string{xmp, exif(8)}, 8},
		"XMP alone":      {[]string{xmp}, 1},
		"two":            {[]string{exif(3), exif(8)}, 3},
		"an empty first": {[]string{none, exif(8)}, 8},
	} {
		if got := inspect(t, withSegments(t, test.segments...), imagefile.JPEG).Orientation; got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestJPEGWithoutItsEndMarker(t *testing.T) {
	whole := withSegments(t)
	thumbnail := segment(0xE1, "Exif\x00\x00"+whole)
	if info := inspect(t, whole+"trailer", imagefile.JPEG); info.NoEnd || info.Edit != nil {
		t.Errorf("with its marker and a trailer: %+v", info)
	}
	cut := whole[:len(whole)-2]
	for name, file := range map[string]string{
		"alone":                        cut,
		"with a thumbnail that is not": withSegments(t, thumbnail)[:len(whole)+len(thumbnail)-2],
		"before another JPEG":          cut + whole,
		"before bytes like a marker":   cut + "\xff\xc9\x00\x10 and more",
		"cut in the middle of it":      cut + "\xff",
	} {
		info := inspect(t, file, imagefile.JPEG)
		want := imagefile.Edit{At: int64(len(cut)), Bytes: [2]byte{0xff, 0xd9}, Size: int64(len(whole))}
		if strings.HasPrefix(name, "with") {
			want.At += int64(len(thumbnail))
			want.Size += int64(len(thumbnail))
		}
		if !info.NoEnd || info.Edit == nil || *info.Edit != want {
			t.Errorf("%s: %+v, %+v, want %+v", name, info, info.Edit, want)
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

func TestJPEGIsReadInLargeParts(t *testing.T) {
	file := append([]byte{0xFF, 0xD8, 0xFF, 0xDA, 0, 2}, bytes.Repeat([]byte{0xFF, 0}, 512<<10)...)
	r := &reads{Reader: bytes.NewReader(append(file, 0xFF, 0xD9))}
	if info, err := imagefile.Inspect(r, r.Size(), imagefile.JPEG); err != nil || info.NoEnd {
		t.Errorf("%+v, %v", info, err)
	}
	if r.n > 100 {
		t.Errorf("%d reads of a file of %d KiB", r.n, r.Size()>>10)
	}
}

func TestHEIFOfTinyBoxesIsNotReadToItsEnd(t *testing.T) {
	file := ftyp("avif\x00\x00\x00\x00mif1miaf")
	file = file[:len(file)-8] + strings.Repeat("\x00\x00\x00\x08free", 128<<10)
	r := &reads{Reader: bytes.NewReader([]byte(file))}
	if _, err := imagefile.Inspect(r, r.Size(), imagefile.AVIF); err != nil {
		t.Error(err)
	}
	if r.n > 10_000 {
		t.Errorf("%d reads of a file of %d KiB", r.n, r.Size()>>10)
	}
}

func TestJPEGKindsThatAreNotRendered(t *testing.T) {
	frame := func(marker byte, precision, components byte, height string) string {
		return "\xff\xd8" + segment(marker, string([]byte{precision})+height+"\x00\x10"+string([]byte{components})+strings.Repeat("\x01\x11\x00", int(components)))
	}
	for want, file := range map[string]string{
		"Lossless JPEG":                             frame(0xC3, 8, 3, "\x00\x10"),
		"Hierarchical JPEG":                         frame(0xC5, 8, 3, "\x00\x10"),
		"JPEG-LS":                                   frame(0xF7, 8, 3, "\x00\x10"),
		"JPEG with 12 bits per sample":              frame(0xC1, 12, 3, "\x00\x10"),
		"JPEG with 2 components":                    frame(0xC0, 8, 2, "\x00\x10"),
		"JPEG with its height after the first scan": frame(0xC0, 8, 3, "\x00\x00"),
	} {
		_, err := imagefile.Inspect(strings.NewReader(file), int64(len(file)), imagefile.JPEG)
		var u *imagefile.Unsupported
		if !errors.As(err, &u) || !strings.HasPrefix(u.Kind, want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestTIFFRowsHeld(t *testing.T) {
	base := []field{{256, short, 1, 100}, {257, short, 1, 300}, {258, short, 1, 8}, {262, short, 1, 1}}
	for name, test := range map[string]struct {
		more field
		want int
	}{
		"strips":          {field{278, short, 1, 16}, 16},
		"one strip":       {field{278, long, 1, 0xffffffff}, 300},
		"says nothing":    {field{282, 5, 1, 0}, 300},
		"tiles":           {field{323, long, 1, 48}, 48},
		"tiles too large": {field{323, long, 1, 4096}, 300},
	} {
		file := string(tiff(binary.BigEndian, append(base, test.more)...))
		if got := inspect(t, file, imagefile.TIFF).RowsHeld; got != test.want {
			t.Errorf("%s: %d rows, want %d", name, got, test.want)
		}
	}
}

// packed is a grayscale TIFF of 2 columns in one strip of PackBits.
func packed(height, rowsPerStrip uint32, strip ...byte) string {
	fields := []field{
		{256, short, 1, 2},
		{257, short, 1, height},
		{258, short, 1, 8},
		{259, short, 1, 32773},
		{262, short, 1, 1},
		{273, long, 1, 0},
		{278, long, 1, rowsPerStrip},
		{279, long, 1, uint32(len(strip))},
	}
	fields[5].value = uint32(len(tiff(binary.LittleEndian, fields...)))
	return string(append(tiff(binary.LittleEndian, fields...), strip...))
}

func TestPackBitsAcrossRowsOfLargeStripsAreRefused(t *testing.T) {
	row := []byte{255, 7}                                         // a run of two
	crossing := []byte{253, 7}                                    // of four, which are two rows
	literal := []byte{3, 1, 2, 3, 4}                              // the same
	nothing := []byte{128, 255, 7, 128}                           // what means nothing around a row
	two := func(b []byte) []byte { return slices.Repeat(b, 100) } // two rows each
	for name, test := range map[string]struct {
		file   string
		refuse bool
	}{
		"rows":              {packed(200, 200, slices.Repeat(row, 200)...), false},
		"rows and nothing":  {packed(200, 200, slices.Repeat(nothing, 200)...), false},
		"runs":              {packed(200, 200, two(crossing)...), true},
		"literals":          {packed(200, 200, two(literal)...), true},
		"the last run":      {packed(200, 200, append(slices.Repeat(row, 198), crossing...)...), true},
		"behind the rows":   {packed(200, 200, append(slices.Repeat(row, 200), crossing...)...), false},
		"a strip that ends": {packed(200, 200, slices.Repeat(row, 100)...), false},
		"few of many rows":  {packed(20, 200, slices.Repeat(crossing, 10)...), true},
		"a small strip":     {packed(128, 128, slices.Repeat(crossing, 64)...), false},
	} {
		_, err := imagefile.Inspect(strings.NewReader(test.file), int64(len(test.file)), imagefile.TIFF)
		var unsupported *imagefile.Unsupported
		if errors.As(err, &unsupported) != test.refuse {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedTIFFsAreNotUnsupported(t *testing.T) {
	whole := string(tiff(binary.LittleEndian, field{256, short, 1, 1}, field{257, short, 1, 1}))
	for _, file := range []string{"II*\x00", whole[:8], whole[:20], "II*\x00\xff\xff\xff\xff"} {
		_, err := imagefile.Inspect(strings.NewReader(file), int64(len(file)), imagefile.TIFF)
		var u *imagefile.Unsupported
		if err == nil || errors.As(err, &u) {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func FuzzSniff(f *testing.F) {
	f.Add([]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if format, ok := imagefile.Sniff(head); ok && !slices.Contains(imagefile.Formats, format) {
			t.Errorf("accepted as %q", format)
		}
	})
}

func FuzzInspect(f *testing.F) {
	exif := string(tiff(binary.BigEndian, field{274, short, 1, 6}))
	f.Add([]byte(exif))
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x2cExif\x00\x00" + exif + "\xff\xda\x00\x02abc\xff\xd9"))
	f.Add([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x1aeXIf" + exif))
	f.Add([]byte("RIFF----WEBPEXIF\x1a\x00\x00\x00" + exif))
	f.Add([]byte("II+\x00\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		format, ok := imagefile.Sniff(file)
		if !ok {
			return
		}
		info, err := imagefile.Inspect(bytes.NewReader(file), int64(len(file)), format)
		if info.Orientation < 1 || info.Orientation > 8 {
			t.Errorf("orientation %d", info.Orientation)
		}
		if err != nil || info.Edit == nil {
			return
		}
		if e := info.Edit; e.At < 0 || e.At > int64(len(file)) || e.Size > int64(len(file))+2 || e.Size < e.At+2 {
			t.Errorf("edit %+v of %d bytes", *e, len(file))
		}
	})
}
