package imagefile

import "encoding/binary"

// HeadSize is how many of the first bytes Sniff needs.
const HeadSize = 512

// signatures are the formats that begin with fixed bytes; a dot matches any
// byte.
var signatures = []struct{ head, format string }{
	{"\xFF\xD8\xFF.", JPEG},
	{"\x89PNG\r\n\x1A\n", PNG}, // an APNG, too
	{"RIFF....WEBP", WebP},
	{"GIF87a", GIF},
	{"GIF89a", GIF},
	{"II\x2A\x00", TIFF},
	{"MM\x00\x2A", TIFF},
	{"II\x2B\x00", TIFF}, // BigTIFF
	{"MM\x00\x2B", TIFF},
}

// Sniff returns the format of a file, one of Formats, from its first bytes,
// HeadSize of which are enough. Declared content types and file names are
// ignored. SVG and PDF are refused by design, since they are programs rather
// than images. AVIF and HEIC share a container, so a file that names the brands
// of both may turn out to be the other; the codec decides.
func Sniff(head []byte) (format string, ok bool) {
	for _, s := range signatures {
		if matches(head, s.head) {
			return s.format, true
		}
	}
	return sniffHEIF(head)
}

func matches(head []byte, signature string) bool {
	if len(head) < len(signature) {
		return false
	}
	for i := range len(signature) {
		if signature[i] != '.' && signature[i] != head[i] {
			return false
		}
	}
	return true
}

// heifBrands are the brands of still images and image sequences in HEVC or AV1, and
// the generic ones at the start of such files.
var heifBrands = map[string]string{
	"heic": HEIC, "heix": HEIC, "heim": HEIC, "heis": HEIC,
	"hevc": HEIC, "hevx": HEIC, "hevm": HEIC, "hevs": HEIC,
	"mif1": HEIC, "msf1": HEIC,
	"avif": AVIF, "avis": AVIF,
}

// sniffHEIF checks all brands that the file lists: phones put others first.
func sniffHEIF(head []byte) (format string, ok bool) {
	if len(head) < 16 || string(head[4:8]) != "ftyp" {
		return "", false
	}
	end := min(int64(binary.BigEndian.Uint32(head)), int64(len(head)))
	for at := 8; int64(at+4) <= end; at += 4 {
		if at == 12 {
			continue // the minor version
		}
		switch heifBrands[string(head[at:at+4])] {
		case AVIF:
			return AVIF, true
		case HEIC:
			format = HEIC
		}
	}
	return format, format != ""
}
