// Package gifanim decodes GIFs frame by frame, as browsers show them: areas
// that no frame covers are transparent, and disposal to the background clears
// to transparent.
//
// It keeps one canvas in memory, and a second one if the animation needs it,
// whatever the number of frames. Package image/gif would keep all frames, and
// libvips paints a background that no browser shows.
package gifanim

import (
	"bufio"
	"errors"
	"io"
	"time"
)

// ErrDamaged reports a file from which no complete frame can be read, or a frame
// whose data is invalid.
var ErrDamaged = errors.New("gif: damaged file")

// MaxFrames bounds how many frames Open counts: more are an error.
const MaxFrames = 100_000

// maxCut bounds the pixels of a frame that Open decodes to check whether a
// truncated file has all of them. A larger frame is kept unchecked.
const maxCut = 100_000_000

// Animation is an opened GIF.
type Animation struct {
	Width, Height int
	Delays        []time.Duration // how long each frame is shown
	Plays         int             // 0 for endless
	Painted       int64           // pixels of all frames, including those outside the canvas

	r      io.ReaderAt
	global []byte // palette, 3 bytes per color
	frames []frame
}

// frame is a frame's place in the file, and how it is painted.
type frame struct {
	at                       int64 // of its palette or, without one, of its data
	left, top, width, height int
	colors                   int // in its own palette
	interlaced               bool
	disposal                 byte
	transparent              int // index, -1 for none
}

// Disposal methods.
const (
	disposeToBackground = 2
	disposeToPrevious   = 3
)

// Open reads the structure of a GIF. A frame in which the file was truncated is
// omitted if there is a complete one.
func Open(r io.ReaderAt, size int64) (*Animation, error) {
	a := &Animation{r: r, Plays: 1}
	w := walk{a: a, r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 32<<10), transparent: -1}
	if err := w.header(); err != nil {
		return nil, ErrDamaged
	}
	for {
		err := w.block()
		if errors.Is(err, errTrailer) {
			break
		}
		if err != nil { // the file ends here, or the rest is unreadable
			if err := w.keepIfComplete(); err != nil {
				return nil, err
			}
			break
		}
	}
	if len(a.frames) == 0 || a.Width < 1 || a.Height < 1 {
		return nil, ErrDamaged
	}
	return a, nil
}

// Frames returns the number of frames, at least 1.
func (a *Animation) Frames() int { return len(a.frames) }

// walk reads a file block by block.
type walk struct {
	a  *Animation
	r  *bufio.Reader
	at int64

	// From the graphic control extension of the next frame.
	delay       int
	disposal    byte
	transparent int

	pending *frame // whose data has not ended
}

var (
	errTrailer = errors.New("gif: trailer")
	errBlock   = errors.New("gif: unknown block")
)

func (w *walk) read(n int) ([]byte, error) {
	b := make([]byte, n)
	m, err := io.ReadFull(w.r, b)
	w.at += int64(m)
	return b, err
}

func (w *walk) skip(n int) error {
	m, err := w.r.Discard(n)
	w.at += int64(m)
	return err
}

func word(b []byte) int { return int(b[0]) | int(b[1])<<8 }

// paletteSize returns the number of colors from the flags before a palette; 0 for none.
func paletteSize(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 2 << (flags & 7)
}

func (w *walk) header() error {
	b, err := w.read(13)
	if err != nil {
		return err
	}
	w.a.Width, w.a.Height = word(b[6:]), word(b[8:])
	w.a.global, err = w.read(3 * paletteSize(b[10]))
	return err
}

func (w *walk) block() error {
	b, err := w.read(1)
	if err != nil {
		return err
	}
	switch b[0] {
	case 0x21:
		return w.extension()
	case 0x2C:
		return w.image()
	case 0x3B:
		return errTrailer
	case 0: // some writers put a terminator too many
		return nil
	default:
		return errBlock
	}
}

func (w *walk) extension() error {
	label, err := w.read(1)
	if err != nil {
		return err
	}
	first := true
	netscape := false
	for {
		b, err := w.subBlock()
		if err != nil || len(b) == 0 {
			return err
		}
		switch {
		case label[0] == 0xF9 && first && len(b) >= 4:
			w.control(b)
		case label[0] == 0xFF && first:
			netscape = string(b) == "NETSCAPE2.0" || string(b) == "ANIMEXTS1.0"
		case netscape && len(b) >= 3 && b[0] == 1:
			if w.a.Plays = word(b[1:]); w.a.Plays > 0 {
				w.a.Plays++ // it counts repetitions
			}
		}
		first = false
	}
}

// control reads a Graphic Control Extension, which describes the next frame.
func (w *walk) control(b []byte) {
	w.delay, w.disposal, w.transparent = word(b[1:]), b[0]>>2&7, -1
	if b[0]&1 != 0 {
		w.transparent = int(b[3])
	}
}

// subBlock reads one block of data, empty at the end of a sequence.
func (w *walk) subBlock() ([]byte, error) {
	n, err := w.read(1)
	if err != nil {
		return nil, err
	}
	return w.read(int(n[0]))
}

func (w *walk) image() error {
	b, err := w.read(9)
	if err != nil {
		return err
	}
	f := frame{
		at: w.at, left: word(b), top: word(b[2:]), width: word(b[4:]), height: word(b[6:]),
		colors: paletteSize(b[8]), interlaced: b[8]&0x40 != 0,
		disposal: w.disposal, transparent: w.transparent,
	}
	if len(w.a.frames) == 0 {
		w.sizeBy(f)
	}
	if err := w.skip(3*f.colors + 1); err != nil {
		return err
	}
	w.pending = &f
	for {
		n, err := w.read(1)
		if err != nil {
			return err
		}
		if n[0] == 0 {
			return w.keep()
		}
		if err := w.skip(int(n[0])); err != nil {
			return err
		}
	}
}

// sizeBy makes the canvas as large as the first frame if the file does not give
// its size.
func (w *walk) sizeBy(f frame) {
	if w.a.Width == 0 || w.a.Height == 0 {
		w.a.Width, w.a.Height = f.left+f.width, f.top+f.height
	}
}

// keep adds the pending frame.
func (w *walk) keep() error {
	if len(w.a.frames) == MaxFrames {
		return ErrDamaged
	}
	w.a.frames = append(w.a.frames, *w.pending)
	w.a.Painted += int64(w.pending.width) * int64(w.pending.height)
	w.a.Delays = append(w.a.Delays, shown(w.delay))
	w.pending, w.delay, w.disposal, w.transparent = nil, 0, 0, -1
	return nil
}

// shown returns how long browsers show a frame whose delay is given in hundredths
// of a second: implausibly short ones become a tenth.
func shown(hundredths int) time.Duration {
	if hundredths <= 1 {
		hundredths = 10
	}
	return time.Duration(hundredths) * 10 * time.Millisecond
}

// keepIfComplete adds the pending frame of a truncated file, if it has all of its
// pixels.
func (w *walk) keepIfComplete() error {
	if w.pending == nil {
		return nil
	}
	f := *w.pending
	if int64(f.width)*int64(f.height) > maxCut {
		return w.keep()
	}
	p, err := w.a.pixelsOf(f)
	if err != nil {
		return nil
	}
	row := make([]byte, f.width)
	for range f.height {
		if _, err := io.ReadFull(p, row); err != nil {
			return nil
		}
	}
	return w.keep()
}
