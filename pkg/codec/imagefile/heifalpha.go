package imagefile

import (
	"bytes"
	"slices"
	"strings"
)

// A rotation, mirror or crop of a HEIF applies to the image and so to its alpha, which
// is a separate item. libavif writes it for the colors alone; libheif, which expects
// it for both, then transforms the colors and leaves the alpha unchanged.

// alphaURNs are the types of an auxiliary image that is another one's alpha.
var alphaURNs = []string{"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", "urn:mpeg:hevc:2015:auxid:1"}

// turnAlpha rotates colors and alpha together if the file rotates only the colors:
// the edit removes their rotation, and the orientation has it instead.
func turnAlpha(meta []byte, at, size int64, info *Info) error {
	container, containerAt := boxAt(meta, "iprp")
	all := properties(box(container, "ipco"))
	table, tableAt := boxAt(container, "ipma")
	primary := primaryItem(box(meta, "pitm"))
	alpha, premultiplied, ok := alphaOf(readReferences(box(meta, "iref")), primary, all, table)
	if !ok {
		return nil
	}
	info.Premultiplied = premultiplied
	colors, places := transforms(all, associations(table, primary))
	alphas, _ := transforms(all, associations(table, alpha))
	if slices.EqualFunc(colors, alphas, func(a, b property) bool { return a.name == b.name && bytes.Equal(a.body, b.body) }) {
		return nil
	}
	orientation := orientationOf(colors)
	edit := withoutAssociations(table, places)
	if len(alphas) > 0 || orientation == 0 || edit == nil {
		return &Unsupported{"HEIF whose alpha is not transformed like its colors"}
	}
	edit.At += at + int64(containerAt+tableAt)
	edit.Size = size
	info.Orientation, info.Edit = orientation, edit
	return nil
}

// alphaOf returns the item with another one's alpha, and whether the colors are
// multiplied by it.
func alphaOf(references []reference, item uint32, all []property, table []byte) (alpha uint32, premultiplied, ok bool) {
	for _, r := range references {
		switch {
		case r.name == "prem" && r.from == item:
			premultiplied = true
		case r.name == "auxl" && !ok && slices.Contains(r.to, item) && isAlpha(all, associations(table, r.from)):
			alpha, ok = r.from, true
		}
	}
	return alpha, premultiplied, ok
}

func isAlpha(all []property, of []association) bool {
	for _, a := range of {
		if p := a.of(all); p.name == "auxC" && len(p.body) >= 4 {
			urn, _, _ := strings.Cut(string(p.body[4:]), "\x00")
			return slices.Contains(alphaURNs, urn)
		}
	}
	return false
}

// transforms returns the rotations, mirrors and crops among the properties of an item,
// in their order.
func transforms(all []property, of []association) (found []property, places []association) {
	for _, a := range of {
		switch p := a.of(all); p.name {
		case "irot", "imir", "clap":
			found, places = append(found, p), append(places, a)
		}
	}
	return found, places
}

// orientationOf returns the EXIF orientation that is equivalent to rotations and
// mirrors; 0 if there is none.
func orientationOf(transforms []property) int {
	mirrored, turns := false, 0 // left to right, and then by quarters clockwise
	for _, t := range transforms {
		if len(t.body) == 0 {
			return 0
		}
		switch v := int(t.body[0]); t.name {
		case "irot": // counterclockwise
			turns -= v & 3
		case "imir": // 0 from top to bottom, 1 from left to right
			mirrored, turns = !mirrored, 2*(1-v&1)-turns
		default:
			return 0
		}
	}
	if mirrored {
		return [4]int{2, 7, 4, 5}[turns&3]
	}
	return [4]int{1, 6, 3, 8}[turns&3]
}

// withoutAssociations returns the edit, relative to the start of an ipma box's body,
// that clears associations; nil if they are not in two bytes.
func withoutAssociations(table []byte, places []association) *Edit {
	if len(places) == 0 {
		return nil
	}
	first, last := places[0], places[len(places)-1]
	end := last.at + last.size
	start := end - 2 // the count is before the first one
	if first.at < start {
		return nil
	}
	e := &Edit{At: int64(start), Bytes: [2]byte(table[start:end])}
	clear(e.Bytes[first.at-start:])
	return e
}
