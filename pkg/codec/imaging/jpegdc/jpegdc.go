// Package jpegdc reads the mean color of the upper rows of a progressive JPEG
// from its first scan, which has the mean of each block of 8 × 8 pixels. That
// takes about a hundredth of the time of decoding the file.
package jpegdc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Top describes the upper left part of a file.
type Top struct {
	Width, Height int // of the image, in pixels

	// Mean is the mean color, sRGB from 0 to 255; all three are equal
	// for a gray image.
	Mean [3]float64

	// Coarse is how far quantization may have moved a channel of Mean.
	Coarse float64
}

const (
	sof2 = 0xC2
	dht  = 0xC4
	soi  = 0xD8
	eoi  = 0xD9
	sos  = 0xDA
	dqt  = 0xDB
	dri  = 0xDD
)

var errCut = errors.New("the first scan is truncated")

type component struct {
	id, h, v   int
	table      int // of quantization
	code       *huffman
	prediction int
	sum        int // of the values of its blocks in the part
	blocks     int
}

type decoder struct {
	width, height int
	components    []component
	quantum       [4]int // of the mean, by table
	huffman       [4]huffman
	shift         int // of the values in the first scan
}

// Read reads a complete progressive JPEG of 8 bits, gray or YCbCr, without
// restart intervals, and the mean color of its first columns × rows pixels.
// Both must be multiples of 16 within the image, or 0 for no mean. It returns
// an error for any other file.
func Read(file []byte, columns, rows int) (Top, error) {
	if len(file) < 4 || file[0] != 0xFF || file[1] != soi {
		return Top{}, errors.New("not a JPEG")
	}
	var d decoder
	scan, err := d.header(file[2:])
	if err != nil {
		return Top{}, err
	}
	if err := complete(scan); err != nil {
		return Top{}, err
	}
	top := Top{Width: d.width, Height: d.height}
	if columns > d.width || rows > d.height {
		return top, fmt.Errorf("%d × %d pixels exceed the image", columns, rows)
	}
	if columns == 0 || rows == 0 {
		return top, nil
	}
	if err := d.scan(&bits{data: scan}, columns, rows); err != nil {
		return top, err
	}
	top.Mean, top.Coarse = d.mean()
	return top, nil
}

// header reads the segments up to the data of the first scan, and returns what
// follows.
func (d *decoder) header(rest []byte) ([]byte, error) {
	for {
		if len(rest) < 4 || rest[0] != 0xFF {
			return nil, errors.New("no scan")
		}
		marker := rest[1]
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if length < 2 || len(rest) < 2+length {
			return nil, fmt.Errorf("segment %#x is truncated", marker)
		}
		body := rest[4 : 2+length]
		rest = rest[2+length:]
		if marker == sos {
			return rest, d.scanHeader(body)
		}
		if err := d.segment(marker, body); err != nil {
			return nil, err
		}
	}
}

func (d *decoder) segment(marker byte, body []byte) error {
	switch {
	case marker == sof2:
		return d.frame(body)
	case marker == dqt:
		return d.quantization(body)
	case marker == dht:
		return d.codes(body)
	case marker == dri && !bytes.Equal(body, []byte{0, 0}):
		return errors.New("restart intervals")
	case marker >= 0xC0 && marker < 0xD0:
		return errors.New("not progressive")
	}
	return nil
}

func (d *decoder) frame(b []byte) error {
	if len(b) < 6 || d.components != nil {
		return errors.New("damaged frame header")
	}
	d.height, d.width = int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	depth, n := b[0], int(b[5])
	if depth != 8 || n != 1 && n != 3 || len(b) != 6+3*n {
		return fmt.Errorf("%d components of %d bits", n, depth)
	}
	if d.width == 0 || d.height == 0 {
		return errors.New("no size")
	}
	for b := b[6:]; len(b) > 0; b = b[3:] {
		c := component{id: int(b[0]), h: int(b[1] >> 4), v: int(b[1] & 15), table: int(b[2])}
		if !c.valid() {
			return errors.New("damaged component")
		}
		if n == 1 { // a scan of one component consists of single blocks
			c.h, c.v = 1, 1
		}
		d.components = append(d.components, c)
	}
	return nil
}

func (c component) valid() bool {
	return c.h >= 1 && c.h <= 2 && c.v >= 1 && c.v <= 2 && c.table <= 3
}

func (d *decoder) quantization(b []byte) error {
	for len(b) > 0 {
		size := 1 + int(b[0]>>4) // bytes of a value
		table := int(b[0] & 15)
		if size > 2 || table > 3 || len(b) < 1+64*size {
			return errors.New("damaged quantization table")
		}
		d.quantum[table] = int(b[1])
		if size == 2 {
			d.quantum[table] = int(binary.BigEndian.Uint16(b[1:]))
		}
		b = b[1+64*size:]
	}
	return nil
}

func (d *decoder) codes(b []byte) error {
	for len(b) > 0 {
		if len(b) < 17 || b[0]&15 > 3 {
			return errors.New("damaged Huffman table")
		}
		n := 0
		for _, count := range b[1:17] {
			n += int(count)
		}
		if n > 256 || len(b) < 17+n {
			return errors.New("damaged Huffman table")
		}
		if b[0]>>4 == 0 { // of DC values
			d.huffman[b[0]&15] = newHuffman(b[1:17], b[17:17+n])
		}
		b = b[17+n:]
	}
	return nil
}

func (d *decoder) scanHeader(b []byte) error {
	n := len(d.components)
	if n == 0 || len(b) != 4+2*n || int(b[0]) != n || b[1+2*n] != 0 || b[2+2*n] != 0 || b[3+2*n]>>4 != 0 {
		return errors.New("the first scan is not the DC scan of all components")
	}
	d.shift = int(b[3+2*n] & 15)
	for i := range d.components {
		c := &d.components[i]
		if int(b[1+2*i]) != c.id || b[2+2*i]>>4 > 3 || d.shift > 13 {
			return errors.New("damaged scan header")
		}
		c.code = &d.huffman[b[2+2*i]>>4]
	}
	return nil
}

// complete returns an error unless more scans follow the first, and then the end
// marker and nothing else.
func complete(rest []byte) error {
	scans := 1
	for {
		at := bytes.IndexByte(rest, 0xFF)
		if at < 0 || at+1 >= len(rest) {
			return errors.New("no end marker")
		}
		marker := rest[at+1]
		rest = rest[at+2:]
		switch {
		case marker == 0:
		case marker == eoi && len(rest) > 0:
			return errors.New("bytes after the end marker")
		case marker == eoi && scans < 2:
			return errors.New("scans are missing")
		case marker == eoi:
			return nil
		case len(rest) < 2 || len(rest) < int(binary.BigEndian.Uint16(rest)):
			return fmt.Errorf("segment %#x is truncated", marker)
		default:
			if marker == sos {
				scans++
			}
			rest = rest[binary.BigEndian.Uint16(rest):]
		}
	}
}

// scan decodes the blocks down to a row, and sums those left of a column.
func (d *decoder) scan(b *bits, columns, rows int) error {
	h, v := 1, 1
	for _, c := range d.components {
		h, v = max(h, c.h), max(v, c.v)
	}
	across := (d.width + 8*h - 1) / (8 * h)
	for range rows / (8 * v) {
		for x := range across {
			for i := range d.components {
				if err := d.components[i].decode(b, x < columns/(8*h)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// decode decodes the blocks of a component in one unit of the scan.
func (c *component) decode(b *bits, counts bool) error {
	for range c.h * c.v {
		size, err := c.code.decode(b)
		if err != nil {
			return err
		}
		value, err := b.signed(size)
		if err != nil {
			return err
		}
		c.prediction += value
		if counts {
			c.sum += c.prediction
			c.blocks++
		}
	}
	return nil
}

// mean converts the sums to a color.
func (d *decoder) mean() (rgb [3]float64, coarse float64) {
	var value, off [3]float64
	for i, c := range d.components {
		// The bits omitted by the scan are assumed to be half of their maximum. A
		// value is eight times the mean of its block.
		missing := float64(int(1)<<d.shift-1) / 2
		quantum := float64(d.quantum[c.table]) / 8
		value[i] = (float64(c.sum<<d.shift)/float64(c.blocks) + missing) * quantum
		off[i] = float64(int(1)<<d.shift) * quantum / 2
	}
	y, cb, cr := value[0]+128, value[1], value[2]
	return [3]float64{y + 1.402*cr, y - 0.344136*cb - 0.714136*cr, y + 1.772*cb},
		off[0] + 1.772*max(off[1], off[2])
}
