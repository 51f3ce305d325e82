package imaging

import "encoding/binary"

// The parts of a WebP file that are read here: "RIFF", the length of what
// follows, "WEBP", then chunks of a name, a length and as many bytes, made
// even.
const (
	webpHeader  = 12
	chunkHeader = 8
)

// The flags of the chunk VP8X, which announces the others.
const (
	webpAnimation = 0x02
	webpAlpha     = 0x10
)

// imageChunks are those that a WebP is shown by.
var imageChunks = map[string]bool{"VP8 ": true, "VP8L": true, "VP8X": true, "ALPH": true, "ANIM": true, "ANMF": true}

// stripWebP takes all metadata out of a WebP file, in place, and gives the
// length that is left. libvips 8.14.1 writes some whatever it is told, which
// is a good part of a small file. VP8X goes too where it has nothing left to
// announce. A file that is not as expected is left as it is.
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

// webpChunks cuts a file up; nil if it is not whole.
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

// keepChunk says whether a chunk stays, and makes VP8X announce no more than
// will stay.
func keepChunk(chunk []byte) bool {
	name := string(chunk[:4])
	if name == "VP8X" && len(chunk) > chunkHeader {
		chunk[chunkHeader] &= webpAnimation | webpAlpha
		return chunk[chunkHeader] != 0
	}
	return imageChunks[name]
}
