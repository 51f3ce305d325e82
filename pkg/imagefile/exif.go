package imagefile

import (
	"encoding/binary"
	"strings"
)

const (
	tagOrientation = 274
	ifdEntry       = 12 // bytes of an entry of a directory
	maxEXIF        = 1 << 20
)

// exifOrientation returns the orientation in an EXIF block, which is a TIFF
// file of its own, with or without the prefix that it has in a JPEG; 0 if it
// has none.
//
// Only the first directory is read, entry by entry, and only as far as there
// are bytes: phones and editors leave tags there that point nowhere, thumbnails
// that are cut off, and tags in no order, none of which matters here.
func exifOrientation(b []byte) int {
	if strings.HasPrefix(string(b[:min(len(b), 6)]), "Exif\x00") {
		b = b[min(len(b), 6):]
	}
	if len(b) < 8 {
		return 0
	}
	order, ok := byteOrder(b)
	if !ok {
		return 0
	}
	at := uint64(order.Uint32(b[4:]))
	if at < 8 || at+2 > uint64(len(b)) {
		return 0
	}
	entries := b[at+2:]
	for range order.Uint16(b[at:]) {
		if len(entries) < ifdEntry {
			break
		}
		if order.Uint16(entries) == tagOrientation {
			if o := orientationValue(order, entries); o != 0 {
				return o
			}
		}
		entries = entries[ifdEntry:]
	}
	return 0
}

// orientationValue is the value of an entry of 12 bytes; 0 if it is none.
func orientationValue(order binary.ByteOrder, entry []byte) int {
	var v uint32
	switch order.Uint16(entry[2:]) {
	case typeByte:
		v = uint32(entry[8])
	case typeShort, typeSShort:
		v = uint32(order.Uint16(entry[8:]))
	case typeLong, typeSLong:
		v = order.Uint32(entry[8:])
	}
	if v < 1 || v > 8 {
		return 0
	}
	return int(v)
}

// byteOrder is that of a TIFF, by its first two bytes.
func byteOrder(b []byte) (byteOrdering, bool) {
	switch string(b[:2]) {
	case "II":
		return binary.LittleEndian, true
	case "MM":
		return binary.BigEndian, true
	default:
		return nil, false
	}
}
