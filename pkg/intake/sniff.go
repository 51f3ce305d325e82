package intake

import "github.com/optimizerd/optimizerd/pkg/imagefile"

// HeadSize is how many of the first bytes decide on the format.
const HeadSize = imagefile.HeadSize

// Sniff names the format of an image by its first bytes (HeadSize of them are
// enough). A content type or file name that a client claims counts for nothing.
// The codec has the last word: it may find AV1 in what calls itself HEIF. All
// other formats are refused, SVG and PDF by design: they are programs, not
// images.
func Sniff(head []byte) (format string, ok bool) { return imagefile.Sniff(head) }
