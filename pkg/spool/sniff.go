package spool

import "github.com/optimizerd/optimizerd/pkg/imagefile"

// HeadSize is how many of the first bytes Sniff needs.
const HeadSize = imagefile.HeadSize

// Sniff returns the format of an image by its first bytes (HeadSize of them are
// enough): jpeg, png, webp, gif, heic, avif or tiff. Declared content types and
// file names are ignored. All other formats are refused; SVG and PDF by design,
// since they are programs rather than images. The codec decides in the end: it
// may find AV1 in a file that claims to be HEIF.
func Sniff(head []byte) (format string, ok bool) { return imagefile.Sniff(head) }
