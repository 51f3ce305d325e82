package imagefile

import "encoding/binary"

// reference says that an item of a HEIF needs others, such as a grid its cells
// ("dimg"), or describes them, such as alpha its colors ("auxl").
type reference struct {
	name string
	from uint32
	to   []uint32
}

// maxReferences bounds how many references are read, and maxItems how many items each
// may name: a grid has at most 256 × 256 cells.
const (
	maxReferences = 100
	maxItems      = 1 << 16
)

// readReferences parses the body of an iref box as far as it is sound.
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
		for ids := body[idSize+2:]; len(ids) >= idSize && len(r.to) < maxItems; ids = ids[idSize:] { // after their number
			r.to = append(r.to, itemID(ids, idSize))
		}
		all = append(all, r)
	}
	return all
}

// itemIDSize is how many bytes an item's id has in the body of an iref or ipma box, by
// its version.
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

// hasTurnedCells reports whether the primary image is made of others that have turns,
// mirrors or crops of their own, as avifenc 0.11 writes them beside that of the grid.
// libheif turns each cell by itself, which browsers do not.
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
			if p.name != "irot" || len(p.body) == 0 || p.body[0]&3 != 0 { // a turn by nothing is none
				return true
			}
		}
	}
	return false
}
