package imagefile

import (
	"fmt"
	"io"
	"slices"
)

// The tags of a TIFF that describe its samples.
const (
	tagNewSubfileType   = 254
	tagSubfileType      = 255
	tagWidth            = 256
	tagHeight           = 257
	tagBitsPerSample    = 258
	tagCompression      = 259
	tagPhotometric      = 262
	tagStripOffsets     = 273
	tagSamplesPerPixel  = 277
	tagRowsPerStrip     = 278
	tagStripByteCounts  = 279
	tagPlanar           = 284
	tagTileLength       = 323
	tagSubIFDs          = 330
	tagInkSet           = 332
	tagExtraSamples     = 338
	tagSampleFormat     = 339
	tagDNGVersion       = 50706
	newSubfileThumbnail = 1
	subfileThumbnail    = 2
	extraUnknown        = 0
	extraAssociated     = 1
	planarTogether      = 1
	planarSeparate      = 2
)

// Photometric interpretations.
const (
	whiteIsZero = 0
	blackIsZero = 1
	rgb         = 2
	palette     = 3
	cmyk        = 5
	ycbcr       = 6
	cielab      = 8
	cfa         = 32803 // a camera's raw samples
	linearRaw   = 34892
)

// Compressions.
const (
	compressionNone     = 1
	compressionJPEG     = 7
	compressionOldJPEG  = 6
	compressionPackBits = 32773
)

var (
	// faxes are the compressions of bilevel images.
	faxes = []uint64{2, 3, 4}
	// lossless compressions: none, LZW, Deflate by its two numbers, PackBits
	// and Zstandard.
	lossless = []uint64{compressionNone, 5, 8, 32946, compressionPackBits, 50000}
)

// tiffKind is how the samples of a TIFF are stored.
type tiffKind struct {
	photometric, compression uint64
	bits                     uint64 // of a sample
	colors                   int    // samples that are colors
	extra                    []uint64
	separate                 bool // one plane per sample
	tiled                    bool
}

// inspectTIFF reads the first directory, which is the image.
func inspectTIFF(r io.ReaderAt, size int64, info *Info) error {
	t, at, err := openTIFF(r, size)
	if err != nil {
		return err
	}
	d, next, err := t.directory(at)
	if err != nil {
		return err
	}
	if t.isRaw(d, at, next) {
		return &Unsupported{"Camera raw"}
	}
	if d.first(tagNewSubfileType, 0)&newSubfileThumbnail != 0 || d.first(tagSubfileType, 0) == subfileThumbnail {
		return &Unsupported{"TIFF that starts with a thumbnail"}
	}
	if o := d.first(tagOrientation, 1); o >= 1 && o <= 8 {
		info.Orientation = int(o)
	}
	info.RowsHeld = d.rowsHeld()
	kind, err := kindOf(d)
	if err != nil {
		return err
	}
	switch {
	case kind.isSeparateGray():
		info.Edit = t.asSeparateRGB(at)
	case d.first(tagPlanar, planarTogether) == planarSeparate && !kind.separate:
		info.Edit = t.asOnePlane(at)
	}
	extra := d[tagExtraSamples]
	info.Opaque = len(extra) > 0 && extra[0] == extraUnknown
	if err := kind.check(); err != nil {
		return err
	}
	if t.crossesRows(d, kind) {
		return &Unsupported{"TIFF with PackBits runs across rows"}
	}
	return nil
}

// rowsHeld returns how many rows a decoder has in memory at once.
func (d directory) rowsHeld() int {
	height := d.first(tagHeight, 0)
	rows := max(d.first(tagTileLength, 0), d.first(tagRowsPerStrip, 0))
	if rows == 0 || rows > height {
		rows = height
	}
	return int(min(rows, 1<<30))
}

func (k tiffKind) isSeparateGray() bool {
	return k.separate && k.photometric == blackIsZero && k.colors == 1
}

// asSeparateRGB returns the edit that makes libvips read grayscale with alpha in
// separate planes: as RGB, its samples are interleaved unchanged. As grayscale,
// libvips (8.14 to 8.18) miscalculates the length of its lines.
func (t *tiffReader) asSeparateRGB(at uint64) *Edit { return t.rewritten(at, tagPhotometric, rgb) }

// asOnePlane returns the edit for an image of one sample that is declared as separate
// planes, which means nothing. libvips would read its samples as bytes.
func (t *tiffReader) asOnePlane(at uint64) *Edit { return t.rewritten(at, tagPlanar, planarTogether) }

// rewritten returns the edit that changes the value of a field of the directory at an
// offset; nil if there is no such field of 16 bits.
func (t *tiffReader) rewritten(at uint64, tag, value uint16) *Edit {
	countSize, entrySize := t.layout()
	count, err := t.bytes(at, countSize)
	if err != nil {
		return nil
	}
	for i := range t.number(count, countSize) {
		entry := at + countSize + i*entrySize
		if b, err := t.bytes(entry, 4); err == nil && t.order.Uint16(b) == tag && t.order.Uint16(b[2:]) == typeShort {
			e := &Edit{At: int64(entry + 4 + t.word()), Size: t.size}
			t.order.PutUint16(e.Bytes[:], value)
			return e
		}
	}
	return nil
}

// isRaw reports whether any directory contains a camera's raw samples. The first one
// may be a thumbnail that any TIFF reader shows.
func (t *tiffReader) isRaw(first directory, at, next uint64) bool {
	if b, err := t.bytes(8, 2); err == nil && string(b) == "CR" && !t.big && at >= 16 {
		return true // Canon's CR2
	}
	seen := []uint64{at}
	wait := append([]uint64{next}, first[tagSubIFDs]...)
	for d := first; ; {
		if p := d.first(tagPhotometric, 0); p == cfa || p == linearRaw || d[tagDNGVersion] != nil {
			return true
		}
		for len(wait) > 0 && (wait[0] == 0 || slices.Contains(seen, wait[0])) {
			wait = wait[1:]
		}
		if len(wait) == 0 || len(seen) == maxDirectories {
			return false
		}
		at, wait = wait[0], wait[1:]
		seen = append(seen, at)
		var err error
		if d, next, err = t.directory(at); err != nil {
			d = directory{}
			continue
		}
		wait = append(wait, next)
		wait = append(wait, d[tagSubIFDs]...)
	}
}

// kindOf reads the kind of a directory. It refuses what no supported kind
// has: samples of different sizes, or other than unsigned integers.
func kindOf(d directory) (tiffKind, error) {
	samples := int(min(d.first(tagSamplesPerPixel, 1), 1<<16))
	k := tiffKind{
		photometric: d.first(tagPhotometric, blackIsZero),
		compression: d.first(tagCompression, compressionNone),
		bits:        d.first(tagBitsPerSample, 1),
		separate:    d.first(tagPlanar, planarTogether) == planarSeparate && samples > 1,
		tiled:       d[tagTileLength] != nil,
		extra:       d[tagExtraSamples],
	}
	k.colors = samples - len(k.extra)
	if n, known := colorsOf[k.photometric]; known && k.extra == nil && samples > n {
		k.colors, k.extra = n, make([]uint64, samples-n) // the tag is often omitted
	}
	for _, bits := range d[tagBitsPerSample] {
		if bits != k.bits {
			return k, &Unsupported{"TIFF with samples of different sizes"}
		}
	}
	for _, format := range d[tagSampleFormat] {
		switch format {
		case 1:
		case 2:
			return k, &Unsupported{"TIFF with signed samples"}
		case 3:
			return k, &Unsupported{"TIFF with floating-point samples"}
		default:
			return k, &Unsupported{"TIFF with samples of an unknown or complex type"}
		}
	}
	if k.photometric == cmyk && d.first(tagInkSet, 1) != 1 {
		return k, &Unsupported{"TIFF with inks other than CMYK"}
	}
	return k, nil
}

// colorsOf is the number of colors in each photometric interpretation.
var colorsOf = map[uint64]int{whiteIsZero: 1, blackIsZero: 1, rgb: 3, palette: 1, cmyk: 4, ycbcr: 3, cielab: 3}

// proven are the kinds that are rendered correctly, which the tests of package imaging
// check against independent decoders. Others are refused.
var proven = []struct {
	photometric uint64
	name        string
	colors      int
	bits        []uint64
	extra       int // samples besides the colors, at most
	separate    bool
	jpeg        bool
}{
	{whiteIsZero, "grayscale", 1, []uint64{1, 2, 4, 8, 16}, 0, false, false},
	{blackIsZero, "grayscale", 1, []uint64{1, 2, 4}, 0, false, false},
	{blackIsZero, "grayscale", 1, []uint64{8, 16}, 2, false, true},
	{blackIsZero, "grayscale", 1, []uint64{8, 16}, 1, true, false},
	{rgb, "RGB", 3, []uint64{8, 16}, 2, true, true},
	{palette, "palette", 1, []uint64{1, 2, 4, 8}, 0, false, false},
	{cmyk, "CMYK", 4, []uint64{8, 16}, 0, true, false},
	{ycbcr, "YCbCr", 3, []uint64{8}, 0, false, true},
	{cielab, "CIE Lab", 3, []uint64{8}, 1, false, false},
}

// check returns an *Unsupported for a kind that is not proven.
func (k tiffKind) check() error {
	if k.compression == compressionOldJPEG {
		return &Unsupported{"TIFF with old-style JPEG"}
	}
	if slices.Contains(k.extra, extraAssociated) {
		if err := k.checkAssociated(); err != nil {
			return err
		}
	}
	name := ""
	for _, p := range proven {
		if p.photometric != k.photometric {
			continue
		}
		name = p.name
		if k.colors == p.colors && slices.Contains(p.bits, k.bits) && len(k.extra) <= p.extra &&
			(!k.separate || p.separate && !k.tiled) && k.compressed(p.jpeg) {
			return nil
		}
	}
	if name == "" {
		return &Unsupported{fmt.Sprintf("TIFF with photometric interpretation %d", k.photometric)}
	}
	return &Unsupported{k.describe(name)}
}

// checkAssociated returns an *Unsupported for a kind that libvips decodes incorrectly
// with associated alpha, though it is proven with other alpha.
func (k tiffKind) checkAssociated() error {
	switch {
	case k.isSeparateGray() && k.bits == 16:
		return &Unsupported{"TIFF (grayscale with associated alpha, 16 bits per sample, separate planes)"}
	case k.photometric == cielab:
		return &Unsupported{"TIFF (CIE Lab with associated alpha)"}
	}
	return nil
}

// compressed reports whether the compression is valid for such samples.
func (k tiffKind) compressed(jpeg bool) bool {
	switch {
	case k.compression == compressionJPEG:
		return jpeg && k.bits == 8 && !k.separate && len(k.extra) == 0
	case slices.Contains(faxes, k.compression):
		return k.bits == 1 && k.colors == 1 && (k.photometric == whiteIsZero || k.photometric == blackIsZero)
	default:
		return slices.Contains(lossless, k.compression) && k.photometric != ycbcr
	}
}

// describe returns a description of a kind, for the refusal.
func (k tiffKind) describe(name string) string {
	text := fmt.Sprintf("TIFF (%s, %d bits per sample, %d+%d samples, compression %d", name, k.bits, k.colors, len(k.extra), k.compression)
	if k.separate {
		text += ", separate planes"
	}
	if k.tiled {
		text += ", tiles"
	}
	return text + ")"
}
