package imaging

import (
	"slices"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// fixedBytes is the memory of libraries and threads, independent of the image.
const fixedBytes = 16 << 20

// estimate returns the approximate peak memory of a render, in bytes, beyond
// that of the idle process. It tends to overestimate. sizes are the rungs,
// largest first; shrink is the decoder's own shrink factor.
func estimate(h header, shrink int, sizes []ladder.Rung, encoders []ladder.Encoder, threads int) int64 {
	top := rungBytes(h, sizes[0])
	decoding := decoderBytes(h, shrink) + streamBytes(h) + top
	turning := 2 * top // as stored, and upright; or with alpha, and without
	if h.format == "gif" || h.frames > 1 {
		h.alpha = false // most need none; known when all frames are decoded
	}
	return max(fixedBytes+max(decoding, turning), encodingEstimate(h, sizes, encoders, threads))
}

// encodingEstimate is like estimate for the phase when the source is decoded, and
// all rungs are in memory.
func encodingEstimate(h header, sizes []ladder.Rung, encoders []ladder.Encoder, threads int) int64 {
	encoding := encodingBytes(h, sizes, encoders, threads)
	for _, size := range sizes {
		encoding += rungBytes(h, size)
	}
	return fixedBytes + encoding
}

// rungBytes returns the size of a rung in memory: 8 bits per sample, all
// frames.
func rungBytes(h header, size ladder.Rung) int64 {
	bands := int64(3) // a profile can turn gray into three bands
	if h.alpha {
		bands = 4
	}
	return pixels(size.Width, size.Height) * int64(h.frames) * bands
}

// streamBytes returns the size of the source rows in flight through the resize:
// a few dozen, as floats if alpha is premultiplied.
func streamBytes(h header) int64 {
	const rows = 64
	return rows * int64(h.width) * int64(h.bands*h.sampleBytes) * 4
}

// decoderBytes returns a decoder's memory for the source besides a few rows.
// Measured with libvips 8.14, libjpeg-turbo 2.1, libwebp 1.2, libheif 1.15.
func decoderBytes(h header, shrink int) int64 {
	area := pixels(h.width, h.height)
	sample := int64(h.sampleBytes)
	switch h.format {
	case "jpeg":
		if !h.progressive {
			return 0
		}
		// All coefficients, 16 bits each, are in memory before the first row. libvips
		// reports all subsampling as 4:2:0; 4:2:2 needs most, 2 per pixel.
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
		return webpBytes(h, shrink)
	case "gif":
		return area * 4 * 2 // the canvas and, for some disposal methods, the previous one
	case "heic":
		if sample == 1 && !h.alpha {
			return area * 7 // the planes, interleaved, and what is in progress: docs/formats.md
		}
		return area * int64(max(3, h.bands)) * sample * 3
	case "avif":
		// dav1d's planes and libheif's, the latter once more in full chroma, and
		// interleaved; a little more with alpha, which is an image of its own.
		perPixel := int64(9)
		switch {
		case h.fullChroma:
			perPixel = 16
		case h.alpha:
			perPixel = 14
		}
		return area * perPixel * sample
	case "tiff":
		return pixels(h.width, h.rowsHeld) * int64(h.bands) * sample * 2
	default:
		return area * int64(h.bands) * sample
	}
}

// webpBytes is decoderBytes for a WebP: a frame, the canvas, and what is in progress,
// as libvips requests it; its copy of all frames; and libwebp's own image of a
// lossless frame, which is not shrunk.
func webpBytes(h header, shrink int) int64 {
	perPixel := int64(12)
	if h.alpha {
		perPixel = 14
	}
	perPixel += int64(h.bands) * int64(h.frames)
	area := pixels(h.width, h.height)
	need := area / int64(shrink*shrink) * perPixel
	if h.lossless {
		need += area * 4
	}
	return need
}

// encoderPixel is the memory of an encoder per pixel of a frame, in bytes.
var encoderPixel = map[ladder.Format]int64{
	ladder.JPEG: 7, // progressive, so all coefficients
	ladder.WebP: 9,
	ladder.AVIF: 24,
}

// encodingBytes returns the most memory that threads parallel encoders use
// together, which is when they encode the largest files.
func encodingBytes(h header, sizes []ladder.Rung, encoders []ladder.Encoder, threads int) int64 {
	var files []int64
	for _, size := range sizes {
		for _, e := range encoders {
			if !e.Encodes(size.Width) {
				continue
			}
			file := encoderPixel[e.Format] * pixels(size.Width, size.Height)
			if h.frames > 1 && e.Format == ladder.WebP {
				// libwebp's canvases, the files of the frames, and where there is
				// alpha a copy of the rung that is not premultiplied.
				file += 4*4*pixels(size.Width, size.Height) + rungBytes(h, size)/8
				if h.alpha {
					file += rungBytes(h, size)
				}
			}
			files = append(files, file)
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
