package imagefile

import (
	"encoding/binary"
	"iter"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

const (
	tagOrientation = 274
	tagEXIF        = 34665 // the directory with the camera's data
	tagTaken       = 36867 // DateTimeOriginal: "2026:11:28 14:03:59"
	tagTakenZone   = 36881 // OffsetTimeOriginal: "+01:00"
	ifdEntry       = 12    // bytes of an entry of a directory
	maxEXIF        = 1 << 20
)

// exifBlock is an EXIF block, which is a TIFF file in itself.
//
// Its directories are read entry by entry, as far as there are bytes: phones and
// editors leave dangling tags, truncated thumbnails and unsorted tags there, none of
// which matters here.
type exifBlock struct {
	b     []byte
	order binary.ByteOrder
}

// parseEXIF parses a block with or without the prefix that it has in a JPEG.
func parseEXIF(b []byte) (block exifBlock, ok bool) {
	if strings.HasPrefix(string(b[:min(len(b), 6)]), "Exif\x00") {
		b = b[min(len(b), 6):]
	}
	if len(b) < 8 {
		return exifBlock{}, false
	}
	order, ok := byteOrder(b)
	return exifBlock{b, order}, ok
}

// first returns the offset of the first directory.
func (x exifBlock) first() uint32 { return x.order.Uint32(x.b[4:]) }

// entries returns the entries with a tag in the directory at an offset.
func (x exifBlock) entries(at uint32, tag uint16) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if at < 8 || uint64(at)+2 > uint64(len(x.b)) {
			return
		}
		entries := x.b[at+2:]
		for range x.order.Uint16(x.b[at:]) {
			if len(entries) < ifdEntry {
				return
			}
			if x.order.Uint16(entries) == tag && !yield(entries[:ifdEntry]) {
				return
			}
			entries = entries[ifdEntry:]
		}
	}
}

// text returns the value of a text entry of n bytes, more than fit into the entry
// itself, without the final zero; "" if it is not text.
func (x exifBlock) text(entry []byte, n uint32) string {
	const ascii = 2
	at := uint64(x.order.Uint32(entry[8:]))
	if x.order.Uint16(entry[2:]) != ascii || x.order.Uint32(entry[4:]) != n || at+uint64(n) > uint64(len(x.b)) {
		return ""
	}
	return strings.TrimRight(string(x.b[at:at+uint64(n)]), "\x00")
}

// exifOrientation returns the orientation in an EXIF block, which is in its first
// directory; 0 if it has none.
func exifOrientation(b []byte) int {
	x, ok := parseEXIF(b)
	if !ok {
		return 0
	}
	for entry := range x.entries(x.first(), tagOrientation) {
		if o := orientationValue(x.order, entry); o != 0 {
			return o
		}
	}
	return 0
}

// TakenAt returns when a photo was taken according to its EXIF block, in the form of
// ladder.Source; "" if unknown.
func TakenAt(b []byte) string {
	x, ok := parseEXIF(b)
	if !ok {
		return ""
	}
	for pointer := range x.entries(x.first(), tagEXIF) {
		camera := x.order.Uint32(pointer[8:])
		for entry := range x.entries(camera, tagTaken) {
			taken, err := time.Parse("2006:01:02 15:04:05", x.text(entry, 20))
			if err != nil {
				continue
			}
			local := taken.Format(ladder.LocalTime)
			for entry := range x.entries(camera, tagTakenZone) {
				if with := local + x.text(entry, 7); with != local && ladder.ValidTakenAt(with) {
					return with
				}
			}
			return local
		}
	}
	return ""
}

// orientationValue returns the orientation in an entry of 12 bytes; 0 if invalid.
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

// byteOrder returns a TIFF's byte order, by its first two bytes.
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
