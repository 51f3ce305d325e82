package imaging

import (
	"encoding/binary"
	"io"
)

// TIFF tags that describe the layout of the pixels.
const (
	tagRowsPerStrip = 278
	tagTileLength   = 323
)

// tiffRowsHeld returns how many rows the TIFF decoder holds at once, which
// libvips does not report: those of a tile, or of a strip, which may be the
// complete image. If the file is unclear it returns height.
func tiffRowsHeld(r io.ReaderAt, height int) int {
	head := make([]byte, 8)
	if _, err := r.ReadAt(head, 0); err != nil {
		return height
	}
	var order binary.ByteOrder = binary.LittleEndian
	if string(head[:2]) == "MM" {
		order = binary.BigEndian
	}
	directory := int64(order.Uint32(head[4:]))
	count := make([]byte, 2)
	if _, err := r.ReadAt(count, directory); err != nil {
		return height
	}
	const entryBytes = 12
	entries := make([]byte, int(order.Uint16(count))*entryBytes)
	if _, err := r.ReadAt(entries, directory+2); err != nil {
		return height
	}
	rows := int64(0)
	for ; len(entries) > 0; entries = entries[entryBytes:] {
		switch order.Uint16(entries) {
		case tagRowsPerStrip, tagTileLength:
			rows = max(rows, tiffNumber(order, entries))
		}
	}
	if rows == 0 {
		return height
	}
	return int(min(rows, int64(height)))
}

// tiffNumber returns the value of an entry with a single integer.
func tiffNumber(order binary.ByteOrder, entry []byte) int64 {
	const short = 3
	if order.Uint16(entry[2:]) == short {
		return int64(order.Uint16(entry[8:]))
	}
	return int64(order.Uint32(entry[8:]))
}
