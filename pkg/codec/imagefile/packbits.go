package imagefile

import (
	"bufio"
	"io"
)

// maxStripRows is the maximum number of rows, as declared by the file, of a strip that
// libvips decodes as a whole. It decodes larger ones row by row, except in separate
// planes, and then libtiff discards what exceeds a row.
const maxStripRows = 128

// crossesRows reports whether a run of a PackBits image continues in the next row, in
// strips that are decoded row by row: later pixels would be wrong. It also
// returns true for a file that cannot be checked.
func (t *tiffReader) crossesRows(d directory, k tiffKind) bool {
	height := d.first(tagHeight, 0)
	rows := d.first(tagRowsPerStrip, 1<<32-1)
	if k.compression != compressionPackBits || k.tiled || k.separate || rows <= maxStripRows || height == 0 {
		return false
	}
	rows = min(rows, height)
	rowBytes := (d.first(tagWidth, 0)*uint64(k.colors+len(k.extra))*k.bits + 7) / 8
	strips := (height + rows - 1) / rows
	offsets, counts := d[tagStripOffsets], d[tagStripByteCounts]
	if uint64(len(offsets)) < strips {
		return len(offsets) == maxStrips // otherwise the decoder reports what is missing
	}
	budget := t.size
	for i := range strips {
		at := offsets[i]
		if at >= uint64(t.size) {
			continue // as above
		}
		bytes := t.size - int64(at)
		if i < uint64(len(counts)) && counts[i] < uint64(bytes) {
			bytes = int64(counts[i])
		}
		if budget -= bytes; budget < 0 {
			return true // overlapping strips
		}
		strip := bufio.NewReader(io.NewSectionReader(t.r, int64(at), bytes))
		if runCrosses(strip, rowBytes, min(rows, height-i*rows)) {
			return true
		}
	}
	return false
}

// runCrosses reports whether a run in these rows of a strip continues in the
// next one.
func runCrosses(strip *bufio.Reader, rowBytes, rows uint64) bool {
	for left := rowBytes; rows > 0; {
		control, err := strip.ReadByte()
		if err != nil {
			return false // the decoder reports missing data
		}
		var run, stored uint64
		switch {
		case control < 128:
			run, stored = uint64(control)+1, uint64(control)+1
		case control > 128:
			run, stored = 257-uint64(control), 1
		}
		if run > left {
			return true
		}
		if _, err := strip.Discard(int(stored)); err != nil {
			return false
		}
		if left -= run; left == 0 {
			left = rowBytes
			rows--
		}
	}
	return false
}
