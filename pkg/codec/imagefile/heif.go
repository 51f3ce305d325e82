package imagefile

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"slices"
)

// maxMeta bounds how much of a HEIF's metadata is read.
const maxMeta = 4 << 20

// Transfer characteristics of HDR, by ITU-T H.273.
var hdrTransfers = map[uint16]string{16: "PQ", 18: "HLG"}

// Matrix coefficients, by ITU-T H.273. Every libheif renders those in matrices
// correctly, as compared with files of libavif's encoder.
const (
	matrixRGB   = 0
	matrixYCgCo = 8
)

var matrices = []uint16{1, 2, 4, 5, 6, 7, 9, 12}

// inspectHEIF refuses HDR, unproven matrices and transformed cells, and rotates alpha
// with its colors. The decoder reports everything else.
func inspectHEIF(r io.ReaderAt, size int64, info *Info) error {
	meta, at := topBox(r, size, "meta")
	if len(meta) < 4 {
		return nil
	}
	meta, at = meta[4:], at+4
	if color, gray, ok := colorOf(meta); ok {
		if err := color.check(gray, info); err != nil {
			return err
		}
	}
	if hasTurnedCells(meta) {
		return &Unsupported{"HEIF with rotated or cropped grid cells"}
	}
	info.FullChroma = hasFullChroma(meta)
	return turnAlpha(meta, at, size, info)
}

// av1Monochrome is a flag in the third byte of an AV1 configuration.
const av1Monochrome = 1 << 4

// hasFullChroma reports whether any item is AV1 with color that is not subsampled in
// both directions. The primary image may be a grid of others, so all are checked.
// Source: AV1 Codec ISO Media File Format Binding, section 2.3.3.
func hasFullChroma(meta []byte) bool {
	const subsampled = 1<<3 | 1<<2
	container := box(box(meta, "iprp"), "ipco")
	for {
		name, body, rest, ok := next(container)
		if !ok {
			return false
		}
		if name == "av1C" && len(body) >= 4 && body[2]&av1Monochrome == 0 && body[2]&subsampled != subsampled {
			return true
		}
		container = rest
	}
}

// nclx describes how colors are coded, by the codes of ITU-T H.273.
type nclx struct {
	transfer, matrix uint16
	fullRange        bool
}

// colorOf returns the nclx of the primary image, and whether it is gray; ok is false
// without one.
func colorOf(meta []byte) (color nclx, gray, ok bool) {
	primary := primaryItem(box(meta, "pitm"))
	container := box(meta, "iprp")
	all := properties(box(container, "ipco"))
	for _, a := range associations(box(container, "ipma"), primary) {
		switch p := a.of(all); {
		case p.name == "colr" && !ok && len(p.body) >= 11 && string(p.body[:4]) == "nclx":
			color = nclx{binary.BigEndian.Uint16(p.body[6:]), binary.BigEndian.Uint16(p.body[8:]), p.body[10]&0x80 != 0}
			ok = true
		case p.name == "av1C" && len(p.body) >= 4:
			gray = p.body[2]&av1Monochrome != 0
		case p.name == "hvcC" && len(p.body) >= 17:
			gray = p.body[16]&3 == 0 // chroma_format_idc
		}
	}
	return color, gray, ok
}

// check refuses colors that are not rendered correctly.
func (n nclx) check(gray bool, info *Info) error {
	switch {
	case hdrTransfers[n.transfer] != "":
		return &Unsupported{"HDR (" + hdrTransfers[n.transfer] + ")"}
	case gray && n.fullRange:
	case gray: // libheif takes it for full range
		return &Unsupported{"HEIF in limited-range gray"}
	case slices.Contains(matrices, n.matrix), n.matrix == matrixRGB && n.fullRange:
	case n.matrix == matrixRGB, n.matrix == matrixYCgCo:
		info.NeedsLibheif119 = true
	default:
		return &Unsupported{fmt.Sprintf("HEIF with matrix coefficients %d", n.matrix)}
	}
	return nil
}

// topBox reads the body of the first top-level box with a name; nil if it is missing
// or too large. start is its offset.
func topBox(r io.ReaderAt, size int64, name string) (body []byte, start int64) {
	head := make([]byte, 16)
	at := int64(0)
	for range maxChunks {
		n, _ := r.ReadAt(head, at)
		if n < 8 {
			return nil, 0
		}
		length, header := int64(binary.BigEndian.Uint32(head)), int64(8)
		if length == 1 && n == 16 {
			length, header = int64(binary.BigEndian.Uint64(head[8:])), 16
		}
		if length == 0 {
			length = size - at
		}
		if length < header || length > size-at { // or the file ends here
			return nil, 0
		}
		if string(head[4:8]) == name {
			if length-header > maxMeta {
				return nil, 0
			}
			b := make([]byte, length-header)
			if _, err := r.ReadAt(b, at+header); err != nil {
				return nil, 0
			}
			return b, at + header
		}
		at += length
	}
	return nil, 0
}

// next splits the first box off b; ok is false if there is none.
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

// box returns the body of the first box with a name in b; nil if there is none.
func box(b []byte, name string) []byte {
	body, _ := boxAt(b, name)
	return body
}

// boxAt is like box, and also returns the offset of the body in b.
func boxAt(b []byte, name string) (body []byte, start int) {
	for rest := b; ; {
		n, body, after, ok := next(rest)
		if !ok {
			return nil, 0
		}
		if n == name {
			return body, len(b) - len(after) - len(body)
		}
		rest = after
	}
}

// property is a property of items: a box in the ipco box.
type property struct {
	name string
	body []byte
}

// properties returns the boxes in an ipco box, as far as associations can refer to
// them.
func properties(container []byte) (all []property) {
	const most = 1<<15 - 1
	for len(all) < most {
		name, body, rest, ok := next(container)
		if !ok {
			break
		}
		all, container = append(all, property{name, body}), rest
	}
	return all
}

// primaryItem returns the item of a pitm box.
func primaryItem(b []byte) uint32 {
	switch {
	case len(b) >= 8 && b[0] > 0:
		return binary.BigEndian.Uint32(b[4:])
	case len(b) >= 6:
		return uint32(binary.BigEndian.Uint16(b[4:]))
	}
	return 0
}

// association assigns a property to an item.
type association struct {
	place    int // 1-based index of the property in the ipco box; 0 for none
	at, size int // of the association in the body of the ipma box
}

// of returns the property; an empty one for none.
func (a association) of(all []property) property {
	if a.place < 1 || a.place > len(all) {
		return property{}
	}
	return all[a.place-1]
}

// associations returns the associations of an item in an ipma box.
func associations(table []byte, item uint32) []association {
	for _, found := range allAssociations(table, func(id uint32) bool { return id == item }) {
		return found
	}
	return nil
}

// allAssociations iterates over the wanted items of an ipma box and their properties.
func allAssociations(table []byte, wanted func(item uint32) bool) iter.Seq2[uint32, []association] {
	return func(yield func(uint32, []association) bool) {
		if len(table) < 8 {
			return
		}
		idSize, size := itemIDSize(table), 1
		if table[3]&1 != 0 {
			size = 2
		}
		for at := 8; len(table)-at >= idSize+1; {
			id, count := itemID(table[at:], idSize), int(table[at+idSize])
			at += idSize + 1
			if len(table)-at < count*size {
				return
			}
			if wanted(id) && !yield(id, associationsAt(table, at, count, size)) {
				return
			}
			at += count * size
		}
	}
}

// associationsAt parses count associations of size bytes each.
func associationsAt(table []byte, at, count, size int) (found []association) {
	for range count {
		place := int(table[at] & 0x7F)
		if size == 2 {
			place = place<<8 | int(table[at+1])
		}
		found = append(found, association{place, at, size})
		at += size
	}
	return found
}
