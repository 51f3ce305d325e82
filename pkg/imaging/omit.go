package imaging

import "github.com/optimizerd/optimizerd/pkg/ladder"

// notSmaller picks the files of one rung that save a browser nothing: those no
// smaller than the file it would get without knowing their format. sizes is in
// bytes.
func notSmaller(sizes map[ladder.Format]int64, animated, alpha bool) []ladder.Format {
	var out []ladder.Format
	kept := make(map[ladder.Format]int64)
	for _, f := range []ladder.Format{ladder.JPEG, ladder.WebP, ladder.AVIF} { // the fallback before what falls back
		size, made := sizes[f]
		if !made {
			continue
		}
		next := f.Fallback()
		for next != "" && kept[next] == 0 {
			next = next.Fallback()
		}
		if next != "" && size >= kept[next] && sameContent(f, next, animated, alpha) {
			out = append(out, f)
			continue
		}
		kept[f] = size
	}
	return out
}

// sameContent reports whether two formats show the same of a picture: only
// WebP is made with all frames, only JPEG without transparency.
func sameContent(a, b ladder.Format, animated, alpha bool) bool {
	if animated && (a == ladder.WebP) != (b == ladder.WebP) {
		return false
	}
	return !alpha || a != ladder.JPEG && b != ladder.JPEG
}
