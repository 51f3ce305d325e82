package imaging

import "github.com/optimizerd/optimizerd/pkg/ladder"

// notSmaller returns the formats of one rung whose files are no smaller than
// the fallback a browser without the format would get. sizes are in bytes.
func notSmaller(sizes map[ladder.Format]int64, animated, alpha bool) []ladder.Format {
	var out []ladder.Format
	kept := make(map[ladder.Format]int64)
	for _, f := range []ladder.Format{ladder.JPEG, ladder.WebP, ladder.AVIF} { // fallbacks first
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

// sameContent reports whether two formats show the same content: only WebP has
// all frames, only JPEG lacks transparency.
func sameContent(a, b ladder.Format, animated, alpha bool) bool {
	if animated && (a == ladder.WebP) != (b == ladder.WebP) {
		return false
	}
	return !alpha || a != ladder.JPEG && b != ladder.JPEG
}
