package daemon_test

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// flatJPEG is a gray JPEG of any size, of which all coefficients are zero. Its
// Huffman tables have a single code each, the bit 0, so that its scans are
// zero bytes.
type flatJPEG struct {
	width, height int
	sampling      []byte // of each component: its equal horizontal and vertical factors, four bits each
	progressive   bool
	repeats       int // of the last scan, if it is progressive
}

// Symbols of Huffman tables: a DC difference of zero, an AC block without
// coefficients, and a run of 2^14 and more such blocks (progressive only).
const (
	noDifference, noCoefficients = 0x00, 0x00
	emptyBlocks                  = 0xe0
	runBits, runLength           = 15, 1 << 14 // the code and 14 bits of zeros
)

func (j flatJPEG) encode() []byte {
	frame, ac := byte(0xc0), byte(noCoefficients)
	if j.progressive {
		frame, ac = 0xc2, emptyBlocks
	}
	size := binary.BigEndian.AppendUint16([]byte{8}, uint16(j.height))
	size = append(binary.BigEndian.AppendUint16(size, uint16(j.width)), byte(len(j.sampling)))
	for i, factors := range j.sampling {
		size = append(size, byte(i+1), factors, 0)
	}
	oneCode := append([]byte{1}, make([]byte, 15)...) // of one bit; none that is longer
	b := slices.Concat([]byte{0xff, 0xd8},
		jpegSegment(0xdb, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)),
		jpegSegment(frame, size),
		jpegSegment(0xc4, slices.Concat([]byte{0x00}, oneCode, []byte{noDifference}, []byte{0x10}, oneCode, []byte{ac})),
	)
	if !j.progressive {
		b = append(b, j.scan(0, 63, j.blocks()*2)...) // a bit for DC, a bit for AC
		return append(b, 0xff, 0xd9)
	}
	b = append(b, j.scan(0, 0, j.blocks())...)
	for i := range j.sampling {
		b = append(b, j.coefficients(i)...)
	}
	b = append(b, bytes.Repeat(j.coefficients(len(j.sampling)-1), j.repeats)...)
	return append(b, 0xff, 0xd9)
}

// blocks is how many blocks of 8 × 8 an interleaved scan has.
func (j flatJPEG) blocks() int {
	each := 0
	for _, factors := range j.sampling {
		each += int(factors>>4) * int(factors&0xf)
	}
	side := 8 * int(j.sampling[0]>>4) // the first component has the largest factors
	return (j.width + side - 1) / side * ((j.height + side - 1) / side) * each
}

// scan is an interleaved scan of all components, of this many bits.
func (j flatJPEG) scan(first, last byte, bits int) []byte {
	header := []byte{byte(len(j.sampling))}
	for i := range j.sampling {
		header = append(header, byte(i+1), 0)
	}
	return append(jpegSegment(0xda, append(header, first, last, 0)), make([]byte, (bits+7)/8)...)
}

// coefficients is a scan of all AC coefficients of one component.
func (j flatJPEG) coefficients(component int) []byte {
	side := 8 * int(j.sampling[0]>>4) / int(j.sampling[component]>>4)
	blocks := (j.width + side - 1) / side * ((j.height + side - 1) / side)
	bits := (blocks + runLength - 1) / runLength * runBits
	return append(jpegSegment(0xda, []byte{1, byte(component + 1), 0, 1, 63, 0}), make([]byte, (bits+7)/8)...)
}

func jpegSegment(marker byte, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(data)+2)), data...)
}
