package imaging

import (
	"slices"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// fixedBytes is what libraries and threads take whatever the picture is.
const fixedBytes = 16 << 20

// estimate is about what a render takes at its peak, in bytes, on top of the
// idle process. It errs on the side of more. The sizes are the rungs', the
// largest first; shrink is the factor by which the decoder itself shrinks.
func estimate(h header, shrink int, sizes []ladder.Rung, encoders []ladder.Encoder, threads int) int64 {
	top := rungBytes(h, sizes[0])
	decoding := decoderBytes(h, shrink) + streamBytes(h) + top
	turning := 2 * top // as the file holds it, and upright
	encoding := encodingBytes(sizes, encoders, threads)
	for _, size := range sizes {
		encoding += rungBytes(h, size)
	}
	return fixedBytes + max(decoding, turning, encoding)
}

// rungBytes is a rung in memory: 8 bits a sample, all frames.
func rungBytes(h header, size ladder.Rung) int64 {
	bands := int64(3) // a profile can make grey into three bands
	if h.alpha {
		bands = 4
	}
	return pixels(size.Width, size.Height) * int64(h.frames) * bands
}

// streamBytes is the rows of the source on their way through the resize: a few
// dozen, in float where alpha is multiplied.
func streamBytes(h header) int64 {
	const rows = 64
	return rows * int64(h.width) * int64(h.bands*h.sampleBytes) * 4
}

// decoderBytes is what a decoder holds of the source besides a few rows.
// Measured with libvips 8.14, libjpeg-turbo 2.1, libwebp 1.2, libheif 1.15.
func decoderBytes(h header, shrink int) int64 {
	area := pixels(h.width, h.height)
	sample := int64(h.sampleBytes)
	switch h.format {
	case "jpeg":
		if !h.progressive {
			return 0
		}
		// All coefficients, 16 bits each, are there before the first row.
		// libvips calls all subsampling 4:2:0; 4:2:2 holds most, 2 a pixel.
		perPixel := int64(h.bands)
		if h.subsampled {
			perPixel = int64(h.bands) - 1
		}
		return area * perPixel * 2
	case "png":
		if !h.interlaced {
			return 0
		}
		return area * int64(h.bands) * sample
	case "webp":
		// libwebp's own picture where it is lossless, 4 bytes a pixel; the
		// canvas, RGBA; and libvips' copy, of all frames.
		shrunk := area / int64(shrink*shrink)
		return area*4 + shrunk*4 + shrunk*int64(h.bands)*int64(h.frames)
	case "gif":
		return area * 4 * 2 // the canvas and, for some disposals, the one before
	case "heic", "avif":
		return area * 3 * sample * 3 // the planes, full chroma, and interleaved
	case "tiff":
		return pixels(h.width, h.rowsHeld) * int64(h.bands) * sample * 2
	default:
		return area * int64(h.bands) * sample
	}
}

// encoderPixel is what an encoder takes for each pixel of a frame, in bytes.
var encoderPixel = map[ladder.Format]int64{
	ladder.JPEG: 7, // all coefficients, since it is progressive
	ladder.WebP: 9,
	ladder.AVIF: 24,
}

// encodingBytes is the most that so many encoders take together, which is when
// they are at the largest files.
func encodingBytes(sizes []ladder.Rung, encoders []ladder.Encoder, threads int) int64 {
	var files []int64
	for _, size := range sizes {
		for _, e := range encoders {
			files = append(files, encoderPixel[e.Format]*pixels(size.Width, size.Height))
		}
	}
	slices.Sort(files)
	var sum int64
	for _, bytes := range files[max(0, len(files)-threads):] {
		sum += bytes
	}
	return sum
}

func pixels(width, height int) int64 { return int64(width) * int64(height) }
