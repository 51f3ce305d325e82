// Package imagefile inspects image files without decoding pixels: the format
// by its signature, EXIF orientation, the kind of a TIFF, whether a JPEG is
// complete.
//
// It is written for hostile and broken files: it allocates no more than a fixed
// amount whatever a file claims, and it skips damage that does not matter. What
// libvips reports about these things is not used, because its libraries give up
// where viewers do not.
package imagefile

import (
	"errors"
	"io"
)

// The input formats.
const (
	JPEG = "jpeg"
	PNG  = "png"
	WebP = "webp"
	GIF  = "gif"
	HEIC = "heic"
	AVIF = "avif"
	TIFF = "tiff"
)

// Formats are all input formats, as the HTTP contract names them.
var Formats = []string{JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF}

// errDamaged reports a structure that cannot be read.
var errDamaged = errors.New("the structure of the file is damaged")

// Unsupported is the error for an intact file that cannot be rendered correctly.
type Unsupported struct {
	Kind string // what is not supported, as a noun phrase: "Lossless JPEG"
}

func (u *Unsupported) Error() string { return u.Kind + " is not supported" }

// Info is what Inspect found.
type Info struct {
	Orientation int // EXIF, 1 to 8

	// CanvasWidth and CanvasHeight are the size in pixels that an extended WebP
	// declares; 0 for any other file.
	CanvasWidth, CanvasHeight int

	// Lossless is set for a WebP with any losslessly compressed frame.
	Lossless bool

	// Edit is the change with which libvips decodes the file correctly; nil for
	// none.
	Edit *Edit

	// NoEnd is set for a JPEG without an end marker, which Edit adds. Only
	// decoding shows whether anything else is missing.
	NoEnd bool

	// FullChroma is set for an AVIF whose planes are not all 4:2:0.
	FullChroma bool

	// Premultiplied is set for a HEIF whose colors are multiplied by its alpha:
	// decoders return them unchanged.
	Premultiplied bool

	// NeedsLibheif119 is set for a HEIF whose colors libheif decodes incorrectly before
	// 1.19.
	NeedsLibheif119 bool

	// Opaque is set for a TIFF whose samples besides its colors are not alpha,
	// although libvips treats the first one as alpha.
	Opaque bool

	// RowsHeld is the number of rows of a TIFF that a decoder has in memory at
	// once: those of a strip or tile.
	RowsHeld int
}

// Edit is a change of two bytes: the file is read as if it had Size bytes, with
// Bytes at the offset At.
type Edit struct {
	At    int64
	Bytes [2]byte
	Size  int64
}

// Inspect reads the structure of a file of the given format and size in bytes.
// The error is an *Unsupported for a kind that is not rendered; any other means
// that the structure is damaged or that r failed.
func Inspect(r io.ReaderAt, size int64, format string) (Info, error) {
	info := Info{Orientation: 1}
	var err error
	switch format {
	case JPEG:
		err = inspectJPEG(io.NewSectionReader(r, 0, size), &info)
	case PNG:
		err = inspectPNG(r, &info)
	case WebP:
		inspectWebP(r, &info)
	case HEIC, AVIF:
		err = inspectHEIF(r, size, &info)
	case TIFF:
		err = inspectTIFF(r, size, &info)
	}
	return info, err
}
