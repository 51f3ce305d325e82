package gifanim

import (
	"bufio"
	"compress/lzw"
	"errors"
	"io"
)

// Canvas paints the frames of an animation in order.
type Canvas struct {
	// Pix are the displayed pixels: RGBA, row by row. Those that are not opaque
	// are all zero.
	Pix []byte

	a    *Animation
	next int
	last frame  // on display, with its disposal
	kept []byte // the pixels before it, if its disposal restores them
}

// Canvas returns the transparent canvas before the first frame.
func (a *Animation) Canvas() *Canvas {
	return &Canvas{a: a, Pix: make([]byte, 4*a.Width*a.Height)}
}

// Next paints the next frame; io.EOF after the last one.
func (c *Canvas) Next() error {
	if c.next == len(c.a.frames) {
		return io.EOF
	}
	c.dispose()
	f := c.a.frames[c.next]
	c.next++
	if f.disposal == disposeToPrevious {
		c.kept = append(c.kept[:0], c.Pix...)
	}
	c.last = f
	return c.paint(f)
}

// dispose applies the disposal method of the last frame.
func (c *Canvas) dispose() {
	switch c.last.disposal {
	case disposeToBackground:
		left, right := min(c.last.left, c.a.Width), min(c.last.left+c.last.width, c.a.Width)
		for y := c.last.top; y < min(c.last.top+c.last.height, c.a.Height); y++ {
			clear(c.Pix[4*(y*c.a.Width+left) : 4*(y*c.a.Width+right)])
		}
	case disposeToPrevious:
		copy(c.Pix, c.kept)
	}
}

// paint draws a frame. If its data ends early, the rest of it is not drawn.
func (c *Canvas) paint(f frame) error {
	palette, err := c.a.paletteOf(f)
	if err != nil {
		return err
	}
	pixels, err := c.a.pixelsOf(f)
	if err != nil {
		return err
	}
	row := make([]byte, f.width)
	for i := range f.height {
		n, err := io.ReadFull(pixels, row)
		c.paintRow(f, palette, rowOf(f, i), row[:n])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return ErrDamaged
		}
	}
	return nil
}

func (c *Canvas) paintRow(f frame, palette []byte, y int, row []byte) {
	y += f.top
	if y >= c.a.Height || f.left >= c.a.Width {
		return
	}
	row = row[:min(len(row), c.a.Width-f.left)]
	to := c.Pix[4*(y*c.a.Width+f.left):]
	for x, index := range row {
		color := 3 * int(index)
		if int(index) == f.transparent || color >= len(palette) {
			continue
		}
		copy(to[4*x:], palette[color:color+3])
		to[4*x+3] = 255
	}
}

// rowOf returns the displayed row of the i-th row of a frame's data. An interlaced
// frame has four passes.
func rowOf(f frame, i int) int {
	if !f.interlaced {
		return i
	}
	for _, pass := range [][2]int{{0, 8}, {4, 8}, {2, 4}, {1, 2}} {
		start, step := pass[0], pass[1]
		rows := max(0, (f.height-start+step-1)/step)
		if i < rows {
			return start + i*step
		}
		i -= rows
	}
	return 0
}

// paletteOf returns a frame's own palette, or the global one.
func (a *Animation) paletteOf(f frame) ([]byte, error) {
	if f.colors == 0 {
		return a.global, nil
	}
	b := make([]byte, 3*f.colors)
	if _, err := a.r.ReadAt(b, f.at); err != nil {
		return nil, ErrDamaged
	}
	return b, nil
}

// pixelsOf reads the indices of a frame.
func (a *Animation) pixelsOf(f frame) (io.Reader, error) {
	at := f.at + int64(3*f.colors)
	size := make([]byte, 1)
	if _, err := a.r.ReadAt(size, at); err != nil || size[0] < 2 || size[0] > 8 {
		return nil, ErrDamaged
	}
	const most = 1 << 62
	data := bufio.NewReader(io.NewSectionReader(a.r, at+1, most-at))
	return lzw.NewReader(&subBlocks{r: data}, lzw.LSB, int(size[0])), nil
}

// subBlocks reads the data of a sequence of blocks, each of which begins with
// its length; it ends with an empty one.
type subBlocks struct {
	r    *bufio.Reader
	left int // in the block
	end  bool
}

// ReadByte lets package lzw read without another buffer.
func (s *subBlocks) ReadByte() (byte, error) {
	for s.left == 0 {
		if s.end {
			return 0, io.EOF
		}
		n, err := s.r.ReadByte()
		if err != nil {
			return 0, err
		}
		s.left, s.end = int(n), n == 0
	}
	s.left--
	return s.r.ReadByte()
}

func (s *subBlocks) Read(b []byte) (int, error) {
	for i := range b {
		var err error
		if b[i], err = s.ReadByte(); err != nil {
			return i, err
		}
	}
	return len(b), nil
}
