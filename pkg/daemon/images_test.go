package daemon_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

// withJPEGSize is the JPEG with another size in its frame header.
func withJPEGSize(t *testing.T, b []byte, width, height uint16) []byte {
	t.Helper()
	b = bytes.Clone(b)
	at := sof(t, b)
	binary.BigEndian.PutUint16(b[at+5:], height)
	binary.BigEndian.PutUint16(b[at+7:], width)
	return b
}

// sof is where the frame header of a JPEG starts.
func sof(t *testing.T, b []byte) int {
	t.Helper()
	for at := 2; at+9 < len(b); at += 2 + int(binary.BigEndian.Uint16(b[at+2:])) {
		if b[at] == 0xff && (b[at+1] == 0xc0 || b[at+1] == 0xc2) {
			return at
		}
	}
	t.Fatal("the JPEG has no frame header")
	return 0
}

// jpegHeader is the JPEG up to its first scan, without a byte of that.
func jpegHeader(t *testing.T, b []byte) []byte {
	t.Helper()
	at := bytes.Index(b[sof(t, b):], []byte{0xff, 0xda}) + sof(t, b)
	return b[:at+2+int(binary.BigEndian.Uint16(b[at+2:]))]
}

// pngBomb is a whole PNG of one bit a pixel, all of them black.
func pngBomb(t *testing.T, width, height int) []byte {
	t.Helper()
	var data bytes.Buffer
	z, err := zlib.NewWriterLevel(&data, zlib.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	row := make([]byte, 1+(width+7)/8)
	for range height {
		if _, err := z.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b := []byte("\x89PNG\r\n\x1a\n")
	b = append(b, pngChunk("IHDR", pngHeader(width, height, 1, 0, 0))...)
	b = append(b, pngChunk("IDAT", data.Bytes())...)
	return append(b, pngChunk("IEND", nil)...)
}

func pngHeader(width, height int, depth, color, interlace byte) []byte {
	h := binary.BigEndian.AppendUint32(nil, uint32(width))
	h = binary.BigEndian.AppendUint32(h, uint32(height))
	return append(h, depth, color, 0, 0, interlace)
}

func pngChunk(name string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}
