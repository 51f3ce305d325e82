package imagefile

import (
	"encoding/binary"
	"io"
)

// The integer field types of a TIFF, including offsets of other directories.
const (
	typeByte   = 1
	typeShort  = 3
	typeLong   = 4
	typeSShort = 8
	typeSLong  = 9
	typeIFD    = 13
	typeLong8  = 16
	typeIFD8   = 18
)

// typeSizes are the sizes of one value of the types above, in bytes.
var typeSizes = map[uint16]uint64{
	typeByte: 1, typeShort: 2, typeSShort: 2, typeLong: 4, typeSLong: 4, typeIFD: 4, typeLong8: 8, typeIFD8: 8,
}

// Limits on what is read of a file, whatever it claims: more than any real file
// needs.
const (
	maxEntries     = 4096
	maxValues      = 64
	maxStrips      = 4096 // values of the per-strip fields
	maxDirectories = 32
)

// tiffReader reads the directories of a TIFF, classic or BigTIFF.
type tiffReader struct {
	r     io.ReaderAt
	size  int64
	order byteOrdering
	big   bool
}

// byteOrdering is one of package binary's byte orders.
type byteOrdering interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// directory contains the integer fields of one directory, by tag.
type directory map[uint16][]uint64

// openTIFF reads the header and returns the offset of the first directory.
func openTIFF(r io.ReaderAt, size int64) (t *tiffReader, first uint64, err error) {
	head := make([]byte, 16)
	if n, _ := r.ReadAt(head, 0); n < 8 {
		return nil, 0, errDamaged
	}
	order, ok := byteOrder(head)
	if !ok {
		return nil, 0, errDamaged
	}
	t = &tiffReader{r: r, size: size, order: order, big: order.Uint16(head[2:]) == 43}
	if t.big {
		return t, order.Uint64(head[8:]), nil
	}
	return t, uint64(order.Uint32(head[4:])), nil
}

// word is the size of an offset in the file.
func (t *tiffReader) word() uint64 {
	if t.big {
		return 8
	}
	return 4
}

// layout returns the sizes of a directory's entry count and of an entry, in bytes.
func (t *tiffReader) layout() (countSize, entrySize uint64) {
	if t.big {
		return 8, 20
	}
	return 2, ifdEntry
}

func (t *tiffReader) number(b []byte, size uint64) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(t.order.Uint16(b))
	case 4:
		return uint64(t.order.Uint32(b))
	default:
		return t.order.Uint64(b)
	}
}

// bytes reads part of the file, of bounded length.
func (t *tiffReader) bytes(at, n uint64) ([]byte, error) {
	if at > uint64(t.size) || n > uint64(t.size)-at {
		return nil, errDamaged
	}
	b := make([]byte, n)
	if _, err := t.r.ReadAt(b, int64(at)); err != nil {
		return nil, err
	}
	return b, nil
}

// directory reads the directory at an offset, and the offset of the next one.
// Fields whose values are outside the file are omitted.
func (t *tiffReader) directory(at uint64) (d directory, next uint64, err error) {
	countSize, entrySize := t.layout()
	b, err := t.bytes(at, countSize)
	if err != nil {
		return nil, 0, err
	}
	count := t.number(b, countSize)
	if count > maxEntries {
		return nil, 0, errDamaged
	}
	entries, err := t.bytes(at+countSize, count*entrySize)
	if err != nil {
		return nil, 0, err
	}
	d = make(directory)
	for ; len(entries) > 0; entries = entries[entrySize:] {
		tag := t.order.Uint16(entries)
		if _, again := d[tag]; !again {
			d[tag] = t.values(entries)
		}
	}
	if b, err = t.bytes(at+countSize+count*entrySize, t.word()); err != nil {
		return d, 0, nil // some writers omit it
	}
	return d, t.number(b, t.word()), nil
}

// values returns the integers of an entry, which are stored in it if they fit; nil
// for other types.
func (t *tiffReader) values(entry []byte) []uint64 {
	size := typeSizes[t.order.Uint16(entry[2:])]
	if size == 0 {
		return nil
	}
	word := t.word()
	most := uint64(maxValues)
	if tag := t.order.Uint16(entry); tag == tagStripOffsets || tag == tagStripByteCounts {
		most = maxStrips
	}
	count := min(t.number(entry[4:], word), most)
	b := entry[4+word:]
	if count*size > word {
		var err error
		if b, err = t.bytes(t.number(b, word), count*size); err != nil {
			return nil
		}
	}
	values := make([]uint64, count)
	for i := range values {
		values[i] = t.number(b[uint64(i)*size:], size)
	}
	return values
}

// first returns the first value of a field; otherwise if the field is missing.
func (d directory) first(tag uint16, otherwise uint64) uint64 {
	if v := d[tag]; len(v) > 0 {
		return v[0]
	}
	return otherwise
}
