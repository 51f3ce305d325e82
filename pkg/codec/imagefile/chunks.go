package imagefile

import (
	"encoding/binary"
	"io"
)

// maxChunks bounds how many chunks, or boxes of a HEIF, are searched for an EXIF
// block or a color space; in a file with more, any later one is ignored.
const maxChunks = 10000

// inspectPNG looks for the chunk eXIf, which is before or after the pixels, and
// for cICP, which may say that the image is HDR.
func inspectPNG(r io.ReaderAt, info *Info) error {
	at := int64(8)
	head := make([]byte, 8)
	for range maxChunks {
		if _, err := r.ReadAt(head, at); err != nil {
			break
		}
		size := int64(binary.BigEndian.Uint32(head))
		switch string(head[4:]) {
		case "eXIf":
			info.Orientation = blockOrientation(r, at+8, size)
		case "cICP":
			b := make([]byte, 2)
			if _, err := r.ReadAt(b, at+8); err == nil && hdrTransfers[uint16(b[1])] != "" {
				return &Unsupported{"HDR (" + hdrTransfers[uint16(b[1])] + ")"}
			}
		case "IEND":
			return nil
		}
		at += 8 + size + 4 // and a checksum
	}
	return nil
}

// inspectWebP looks for the chunk VP8X, which declares the canvas, for lossless
// frames, and for EXIF, which follows all frames.
func inspectWebP(r io.ReaderAt, info *Info) {
	at := int64(12)
	head := make([]byte, 8)
	for range maxChunks {
		if _, err := r.ReadAt(head, at); err != nil {
			return
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		switch string(head[:4]) {
		case "VP8X":
			b := make([]byte, 10) // flags, then width and height, less 1, of three bytes each
			if _, err := r.ReadAt(b, at+8); err == nil {
				info.CanvasWidth = 1 + int(b[4]) + int(b[5])<<8 + int(b[6])<<16
				info.CanvasHeight = 1 + int(b[7]) + int(b[8])<<8 + int(b[9])<<16
			}
		case "VP8L":
			info.Lossless = true
		case "ANMF": // the header of a frame, and the chunks of the frame
			at += 8 + 16
			continue
		case "EXIF":
			info.Orientation = blockOrientation(r, at+8, size)
			return
		}
		at += 8 + size + size%2
	}
}

// blockOrientation returns the orientation in the EXIF block at an offset; 1 if it
// has none.
func blockOrientation(r io.ReaderAt, at, size int64) int {
	b := make([]byte, min(size, maxEXIF))
	n, _ := r.ReadAt(b, at) // as much as available
	return max(1, exifOrientation(b[:n]))
}
