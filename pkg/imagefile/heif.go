package imagefile

import (
	"encoding/binary"
	"io"
)

// maxMeta bounds how much of a HEIF's metadata is read.
const maxMeta = 4 << 20

// Transfer characteristics of HDR, by ITU-T H.273.
var hdrTransfers = map[uint16]string{16: "PQ", 18: "HLG"}

// inspectHEIF refuses HDR. What else is wrong with a file its decoder says.
func inspectHEIF(r io.ReaderAt, size int64) error {
	if transfer := hdrTransfers[heifTransfer(r, size)]; transfer != "" {
		return &Unsupported{"HDR (" + transfer + ")"}
	}
	return nil
}

// heifTransfer returns the transfer characteristics that the primary image is
// said to have; 0 if nothing is said.
func heifTransfer(r io.ReaderAt, size int64) uint16 {
	meta := topBox(r, size, "meta")
	if len(meta) < 4 {
		return 0
	}
	meta = meta[4:]
	primary := primaryItem(box(meta, "pitm"))
	properties := box(meta, "iprp")
	container := box(properties, "ipco")
	for _, i := range associations(box(properties, "ipma"), primary) {
		if name, b := nthBox(container, i); name == "colr" && len(b) >= 8 && string(b[:4]) == "nclx" {
			return binary.BigEndian.Uint16(b[6:])
		}
	}
	return 0
}

// topBox reads the first box of a name at the top of a file; nil if it is not
// there or too large.
func topBox(r io.ReaderAt, size int64, name string) []byte {
	head := make([]byte, 16)
	at := int64(0)
	for range maxChunks {
		n, _ := r.ReadAt(head, at)
		if n < 8 {
			return nil
		}
		length, header := int64(binary.BigEndian.Uint32(head)), int64(8)
		if length == 1 && n == 16 {
			length, header = int64(binary.BigEndian.Uint64(head[8:])), 16
		}
		if length == 0 {
			length = size - at
		}
		if length < header || length > size-at { // or the file ends here
			return nil
		}
		if string(head[4:8]) == name {
			if length-header > maxMeta {
				return nil
			}
			b := make([]byte, length-header)
			if _, err := r.ReadAt(b, at+header); err != nil {
				return nil
			}
			return b
		}
		at += length
	}
	return nil
}

// next cuts the first box off b; ok is false if there is none.
func next(b []byte) (name string, body, rest []byte, ok bool) {
	if len(b) < 8 {
		return "", nil, nil, false
	}
	size := uint64(binary.BigEndian.Uint32(b))
	if size == 0 {
		size = uint64(len(b))
	}
	if size < 8 || size > uint64(len(b)) {
		return "", nil, nil, false
	}
	return string(b[4:8]), b[8:size], b[size:], true
}

// box is the body of the first box of a name in b; nil for none.
func box(b []byte, name string) []byte {
	for {
		n, body, rest, ok := next(b)
		if !ok {
			return nil
		}
		if n == name {
			return body
		}
		b = rest
	}
}

// nthBox is the n-th box in b, counted from 1.
func nthBox(b []byte, n int) (name string, body []byte) {
	for i := 1; ; i++ {
		name, body, rest, ok := next(b)
		if !ok {
			return "", nil
		}
		if i == n {
			return name, body
		}
		b = rest
	}
}

// primaryItem is the item that a pitm box names.
func primaryItem(b []byte) uint32 {
	switch {
	case len(b) >= 8 && b[0] > 0:
		return binary.BigEndian.Uint32(b[4:])
	case len(b) >= 6:
		return uint32(binary.BigEndian.Uint16(b[4:]))
	}
	return 0
}

// associations are the properties of an item by an ipma box, as places in the
// ipco box.
func associations(b []byte, item uint32) (properties []int) {
	if len(b) < 8 {
		return nil
	}
	version, wide := b[0], b[3]&1 != 0
	b = b[8:]
	for {
		idSize := 2
		if version > 0 {
			idSize = 4
		}
		if len(b) < idSize+1 {
			return nil
		}
		id := uint32(binary.BigEndian.Uint16(b))
		if version > 0 {
			id = binary.BigEndian.Uint32(b)
		}
		count := int(b[idSize])
		b = b[idSize+1:]
		size := 1
		if wide {
			size = 2
		}
		if len(b) < count*size {
			return nil
		}
		for i := range count {
			if id != item {
				continue
			}
			property := int(b[i*size] & 0x7F)
			if wide {
				property = property<<8 | int(b[i*size+1])
			}
			properties = append(properties, property)
		}
		if id == item {
			return properties
		}
		b = b[count*size:]
	}
}
