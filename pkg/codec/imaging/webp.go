package imaging

import "encoding/binary"

// Layout of a WebP file: "RIFF", the length of the rest, "WEBP", then chunks of
// a name, a length and as many bytes, padded to an even number.
const (
	webpHeader  = 12
	chunkHeader = 8
)

// Flags of the VP8X chunk, which announces the others.
const (
	webpAnimation = 0x02
	webpAlpha     = 0x10
)

// imageChunks are the chunks needed to display a WebP.
var imageChunks = map[string]bool{"VP8 ": true, "VP8L": true, "VP8X": true, "ALPH": true, "ANIM": true, "ANMF": true}

// stripWebP removes all metadata from a WebP file, in place, and returns the
// remaining length. libvips 8.14.1 always writes some, a considerable part of a
// small file. VP8X is removed as well if it announces nothing. A malformed file
// is left unchanged.
func stripWebP(b []byte) int {
	chunks := webpChunks(b)
	if chunks == nil {
		return len(b)
	}
	end := webpHeader
	for _, chunk := range chunks {
		if keepChunk(chunk) {
			end += copy(b[end:], chunk)
		}
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(end-chunkHeader))
	return end
}

// webpChunks splits a file into chunks; nil if it is malformed.
func webpChunks(b []byte) [][]byte {
	if len(b) < webpHeader || string(b[:4]) != "RIFF" || string(b[8:12]) != "WEBP" {
		return nil
	}
	var chunks [][]byte
	for rest := b[webpHeader:]; len(rest) > 0; {
		if len(rest) < chunkHeader {
			return nil
		}
		size := uint64(binary.LittleEndian.Uint32(rest[4:]))
		whole := chunkHeader + size + size%2
		if whole > uint64(len(rest)) {
			return nil
		}
		chunks = append(chunks, rest[:whole])
		rest = rest[whole:]
	}
	return chunks
}

// keepChunk reports whether a chunk stays, and clears VP8X flags of chunks that
// do not.
func keepChunk(chunk []byte) bool {
	name := string(chunk[:4])
	if name == "VP8X" && len(chunk) > chunkHeader {
		chunk[chunkHeader] &= webpAnimation | webpAlpha
		return chunk[chunkHeader] != 0
	}
	return imageChunks[name]
}

// announceAlpha sets the flag for alpha of an animation, in place. libwebp sets
// it only if a frame has transparent pixels, not where no frame covers the
// canvas.
func announceAlpha(b []byte) {
	for _, chunk := range webpChunks(b) {
		if string(chunk[:4]) == "VP8X" && len(chunk) > chunkHeader {
			chunk[chunkHeader] |= webpAlpha
		}
	}
}
