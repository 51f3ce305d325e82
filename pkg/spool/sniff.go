package spool

import "github.com/gabriel-vasile/mimetype"

// HeadSize is how many of the first bytes Sniff needs.
const HeadSize = 3072

// accepted maps the media types that sniffing returns to formats. All others
// are refused; SVG and PDF by design, since they are programs rather than
// images.
var accepted = map[string]string{
	"image/jpeg":             "jpeg",
	"image/png":              "png",
	"image/vnd.mozilla.apng": "png",
	"image/webp":             "webp",
	"image/gif":              "gif",
	"image/heic":             "heic",
	"image/heic-sequence":    "heic",
	"image/heif":             "heic",
	"image/heif-sequence":    "heic",
	"image/avif":             "avif",
	"image/tiff":             "tiff",
}

// Sniff returns the format of an image by its first bytes (HeadSize of them are
// enough): jpeg, png, webp, gif, heic, avif or tiff. Declared content types and
// file names are ignored. The codec decides in the end: it may find AV1 in a
// file that claims to be HEIF.
func Sniff(head []byte) (format string, ok bool) {
	format, ok = accepted[mimetype.Detect(head).String()]
	return format, ok
}
