package spool

import "github.com/gabriel-vasile/mimetype"

// HeadSize is how many of the first bytes decide on the format.
const HeadSize = 3072

// accepted maps the media types that sniffing can give to formats. Whatever is
// not here is refused, SVG and PDF by design: they are programs, not pictures.
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

// Sniff names the format of a picture by its first bytes (HeadSize of them are enough):
// jpeg, png, webp, gif, heic, avif or tiff. A content type or file name that
// somebody claims counts for nothing. The codec has the last word: it may find
// AV1 in what calls itself HEIF.
func Sniff(head []byte) (format string, ok bool) {
	format, ok = accepted[mimetype.Detect(head).String()]
	return format, ok
}
