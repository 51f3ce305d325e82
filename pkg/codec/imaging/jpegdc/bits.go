package jpegdc

import "errors"

// bits reads the data of a scan.
type bits struct {
	data  []byte
	value uint64
	have  int // bits in value
}

// fill reads until there are 16 bits, or the data ends at a marker: then it adds
// zeros, and consuming them is an error.
func (b *bits) fill() {
	for b.have <= 48 && len(b.data) > 0 {
		next := b.data[0]
		if next == 0xFF {
			if len(b.data) < 2 || b.data[1] != 0 {
				return
			}
			b.data = b.data[1:]
		}
		b.data = b.data[1:]
		b.value = b.value<<8 | uint64(next)
		b.have += 8
	}
}

// peek returns the next 16 bits.
func (b *bits) peek() int {
	if b.have < 16 {
		b.fill()
		if b.have < 16 {
			return int(b.value<<(16-b.have)) & 0xFFFF
		}
	}
	return int(b.value>>(b.have-16)) & 0xFFFF
}

func (b *bits) skip(n int) error {
	if n > b.have {
		return errCut
	}
	b.have -= n
	return nil
}

// signed reads a difference of this many bits.
func (b *bits) signed(size int) (int, error) {
	if size == 0 {
		return 0, nil
	}
	value := b.peek() >> (16 - size)
	if value < 1<<(size-1) {
		value -= 1<<size - 1
	}
	return value, b.skip(size)
}

// huffman is a code of up to 16 bits.
type huffman struct {
	values []byte
	end    [17]int // by length: the first 16 bits that are no code of this length or a shorter one
	offset [17]int // by length: from a code to the place of its value
}

func newHuffman(counts, values []byte) huffman {
	h := huffman{values: values}
	code, place := 0, 0
	for i, count := range counts {
		length := i + 1
		h.offset[length] = place - code
		code += int(count)
		place += int(count)
		h.end[length] = code << (16 - length)
		code <<= 1
	}
	return h
}

// decode reads a code and returns its value: the number of bits of a DC
// difference, at most 11.
func (h *huffman) decode(b *bits) (int, error) {
	next := b.peek()
	for length := 1; length <= 16; length++ {
		if next >= h.end[length] {
			continue
		}
		place := next>>(16-length) + h.offset[length]
		if place < 0 || place >= len(h.values) || h.values[place] > 11 {
			break
		}
		return int(h.values[place]), b.skip(length)
	}
	return 0, errors.New("invalid Huffman code")
}
