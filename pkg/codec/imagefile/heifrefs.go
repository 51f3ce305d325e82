package imagefile

import "encoding/binary"

// reference is a reference from an item of a HEIF to others that it needs, such as the
// cells of a grid ("dimg"), or describes, such as the colors of alpha ("auxl").
type reference struct {
	name string
	from uint32
	to   []uint32
}

// maxReferences bounds the number of references that are read, and maxItems the items
// of each: a grid has at most 256 × 256 cells.
const (
	maxReferences = 100
	maxItems      = 1 << 16
)

// readReferences parses the body of an iref box as far as it is valid.
func readReferences(b []byte) (all []reference) {
	if len(b) < 4 {
		return nil
	}
	idSize := itemIDSize(b)
	b = b[4:]
	for range maxReferences {
		name, body, rest, ok := next(b)
		if !ok {
			break
		}
		b = rest
		if len(body) < idSize+2 {
			continue
		}
		r := reference{name: name, from: itemID(body, idSize)}
		for ids := body[idSize+2:]; len(ids) >= idSize && len(r.to) < maxItems; ids = ids[idSize:] { // after their count
			r.to = append(r.to, itemID(ids, idSize))
		}
		all = append(all, r)
	}
	return all
}

// itemIDSize returns the size of an item's id in the body of an iref or ipma box, by
// its version, in bytes.
func itemIDSize(b []byte) int {
	if b[0] > 0 {
		return 4
	}
	return 2
}

func itemID(b []byte, size int) uint32 {
	if size == 2 {
		return uint32(binary.BigEndian.Uint16(b))
	}
	return binary.BigEndian.Uint32(b)
}

// hasTurnedCells reports whether the primary image consists of others with their own
// rotations, mirrors or crops, which avifenc 0.11 writes in addition to the grid's.
// libheif transforms each cell, unlike browsers.
func hasTurnedCells(meta []byte) bool {
	primary := primaryItem(box(meta, "pitm"))
	cells := make(map[uint32]bool)
	for _, r := range readReferences(box(meta, "iref")) {
		if r.name == "dimg" && r.from == primary {
			for _, cell := range r.to {
				cells[cell] = true
			}
		}
	}
	container := box(meta, "iprp")
	all := properties(box(container, "ipco"))
	for _, of := range allAssociations(box(container, "ipma"), func(id uint32) bool { return cells[id] }) {
		own, _ := transforms(all, of)
		for _, p := range own {
			if p.name != "irot" || len(p.body) == 0 || p.body[0]&3 != 0 { // a rotation by 0 is none
				return true
			}
		}
	}
	return false
}
