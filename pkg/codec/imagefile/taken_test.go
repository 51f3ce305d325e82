package imagefile_test

import (
	"encoding/binary"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
)

// photo is an EXIF block of a camera, in either byte order; a zone of "" is not in
// it.
func photo(order binary.AppendByteOrder, taken, zone string) []byte {
	const (
		first  = 8
		camera = first + 2 + 12 + 4
		texts  = camera + 2 + 2*12 + 4
	)
	b := []byte("II\x2A\x00")
	if order.String() == binary.BigEndian.String() {
		b = []byte("MM\x00\x2A")
	}
	entry := func(tag, kind uint16, n, value uint32) {
		b = order.AppendUint16(b, tag)
		b = order.AppendUint16(b, kind)
		b = order.AppendUint32(b, n)
		b = order.AppendUint32(b, value)
	}
	b = order.AppendUint32(b, first)
	b = order.AppendUint16(b, 1)
	entry(34665, 4, 1, camera)
	b = order.AppendUint32(b, 0)
	b = order.AppendUint16(b, 2)
	entry(36867, 2, uint32(len(taken)+1), texts)
	if zone == "" {
		entry(1, 4, 1, 0)
	} else {
		entry(36881, 2, uint32(len(zone)+1), uint32(texts+len(taken)+1))
	}
	b = order.AppendUint32(b, 0)
	return append(b, taken+"\x00"+zone+"\x00"...)
}

func TestTakenAt(t *testing.T) {
	const local = "2026-11-28T14:03:59"
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, c := range []struct{ taken, zone, want string }{
			{"2026:11:28 14:03:59", "", local},
			{"2026:11:28 14:03:59", "+01:00", local + "+01:00"},
			{"2026:11:28 14:03:59", "-09:30", local + "-09:30"},
			{"2026:11:28 14:03:59", "+00:00", local + "+00:00"},
			{"2026:11:28 14:03:59", "      ", local}, // written by cameras that do not know it
			{"2026:11:28 14:03:59", "+99:99", local},
			{"0000:00:00 00:00:00", "+01:00", ""}, // likewise
			{"    :  :     :  :  ", "", ""},
			{"2026:13:28 14:03:59", "", ""},
			{"2026-11-28 14:03:59", "", ""},
			{"2026:11:28", "", ""},
		} {
			b := photo(order, c.taken, c.zone)
			for name, block := range map[string][]byte{"plain": b, "as in a JPEG": append([]byte("Exif\x00\x00"), b...)} {
				if got := imagefile.TakenAt(block); got != c.want {
					t.Errorf("%v, %s: %q with zone %q: got %q, want %q", order, name, c.taken, c.zone, got, c.want)
				}
			}
		}
	}
	whole := photo(binary.LittleEndian, "2026:11:28 14:03:59", "+01:00")
	for n := range whole { // only what is there is read
		if got := imagefile.TakenAt(whole[:n]); got != "" && got != local && got != local+"+01:00" {
			t.Errorf("of %d bytes: %q", n, got)
		}
	}
}
