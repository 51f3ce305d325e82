package imaging

import (
	"errors"
	"io"
	"os"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/codec/imaging/gifanim"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// header is what a file declares about its image, before any pixel is decoded.
type header struct {
	format      string // as in ladder.Source
	width       int    // pixels, as stored: before EXIF orientation
	height      int    // of one frame
	frames      int    // 1 for a still
	bytes       int64  // of the file
	orientation int    // EXIF, 1 to 8
	bands       int
	sampleBytes int  // per sample of one band
	alpha       bool // there is an alpha band
	cmyk        bool
	progressive bool // multi-scan JPEG
	subsampled  bool // JPEG with subsampled chroma
	interlaced  bool // interlaced PNG
	lossless    bool // WebP with any lossless frame
	fullChroma  bool // AVIF with chroma that is not 4:2:0
	rowsHeld    int  // TIFF: rows in the decoder's memory at once
	opaque      bool // TIFF: the bands besides the colors are not alpha
	multiplied  bool // HEIF: the colors are multiplied by alpha
	noEnd       bool // JPEG without an end marker
	edit        *imagefile.Edit
	gif         *gifanim.Animation
	profile     []byte // ICC profile; nil for none
	takenAt     string // as in ladder.Source
}

// probe reads the header of a file.
func (e *Engine) probe(src *os.File, limits ladder.Limits) (loader, header, error) {
	head := make([]byte, imagefile.HeadSize)
	n, err := src.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return loader{}, header{}, readFault(err)
	}
	format, ok := imagefile.Sniff(head[:n])
	if !ok {
		return loader{}, header{}, unknownFormat()
	}
	stat, err := src.Stat()
	if err != nil {
		return loader{}, header{}, readFault(err)
	}
	if format == imagefile.GIF {
		h, err := probeGIF(src, stat.Size())
		return loader{}, h, err
	}
	l := loaders[format]
	if !knows(l.operation) {
		return loader{}, header{}, noDecoder(l.name)
	}
	info, err := inspect(src, stat.Size(), format)
	if err != nil {
		return loader{}, header{}, err
	}
	if info.NeedsLibheif119 && !isLibheif119() {
		return loader{}, header{}, unsupportedKind("HEIF in YCgCo or limited-range RGB", nil)
	}
	// libvips allocates the canvas of an animated WebP to read its header.
	if info.CanvasWidth > 0 {
		canvas := header{format: format, width: info.CanvasWidth, height: info.CanvasHeight, frames: 1}
		if err := canvas.check(limits); err != nil {
			return loader{}, header{}, err
		}
	}
	p, err := open(src, opening{loader: l, frames: 1, shrink: 1, edit: info.Edit})
	if err != nil {
		return loader{}, header{}, decoderFault(src, l, err)
	}
	defer p.free()
	h := p.header(l)
	h.bytes = stat.Size()
	h.orientation, h.rowsHeld, h.opaque, h.fullChroma = info.Orientation, info.RowsHeld, info.Opaque, info.FullChroma
	h.noEnd, h.edit, h.multiplied, h.lossless = info.NoEnd, info.Edit, info.Premultiplied, info.Lossless
	if !slices.Contains(e.versions.Inputs, h.format) {
		return loader{}, header{}, noDecoder(h.format)
	}
	if h.frames > 1 {
		h.orientation = 1 // viewers do not rotate animations
	}
	return l, h, nil
}

// inspect reads the metadata that is not queried from libvips.
func inspect(src *os.File, size int64, format string) (imagefile.Info, error) {
	info, err := imagefile.Inspect(src, size, format)
	var unsupported *imagefile.Unsupported
	switch {
	case errors.As(err, &unsupported):
		return info, unsupportedKind(unsupported.Kind, nil)
	case err != nil:
		return info, badHeader(format, err)
	}
	return info, nil
}

// source returns the header as package ladder defines it.
func (h header) source() ladder.Source {
	w, ht := h.upright(h.width, h.height)
	return ladder.Source{Format: h.format, Width: w, Height: ht, Frames: h.frames, TakenAt: h.takenAt}
}

// upright converts a size between stored and displayed orientation:
// orientations from 5 on swap width and height.
func (h header) upright(width, height int) (int, int) {
	if h.orientation >= 5 {
		return height, width
	}
	return width, height
}

// check checks the limits that need no plan.
func (h header) check(limits ladder.Limits) error {
	if h.frames > limits.MaxFrames {
		return tooManyFrames(h, limits.MaxFrames)
	}
	if int64(h.width)*int64(h.height)*int64(h.frames) > limits.MaxPixels {
		return tooManyPixels(h, limits.MaxPixels)
	}
	if h.gif != nil && h.gif.Painted > limits.MaxPixels {
		return fault.New(fault.TooManyPixels, "The frames of the image have %d pixels; the limit is %d.", h.gif.Painted, limits.MaxPixels)
	}
	return nil
}

// decoderShrink returns the integer factor by which the decoder itself shrinks
// an image that is needed at width × height, in stored orientation.
//
// Both decoders average blocks of pixels, which is cheap and slightly sharp, so
// most of the last factor of two is left to the resize: enough to halve a phone's
// 48 MP (8064 pixels) for 2048. WebP with alpha is not shrunk this way, because
// libwebp does not weight colors by alpha.
func (h header) decoderShrink(width, height int) int {
	const left = 1.9
	most := int(min(float64(h.width)/(left*float64(width)), float64(h.height)/(left*float64(height))))
	switch {
	case h.format == "jpeg":
		for _, s := range []int{8, 4, 2} {
			if s <= most {
				return s
			}
		}
	case h.format == "webp" && h.frames == 1 && !h.alpha:
		return max(1, most)
	}
	return 1
}

// convert reports whether the colors must be converted with the embedded
// profile.
func (h header) convert() bool {
	return h.profile != nil && profileFits(h.profile, h.bands, h.cmyk) && !isSRGB(h.profile)
}
