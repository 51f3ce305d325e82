package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits of a message from the edge. The largest, the configuration of a tunnel, has
// a few kilobytes in one segment.
const (
	maxSegments     = 16
	maxMessageWords = 1 << 17 // 1 MiB
	wordSize        = 8       // bytes
)

// frames passes on a stream of Cap'n Proto messages, and ends it at a message that
// must not reach the library: it panics on an empty first segment, in its own
// goroutine, and allocates up to 64 MiB before the bytes have arrived.
//
// A message begins with a table of 32-bit numbers, in little-endian order and padded
// to a word: the number of segments less one, and the size of each in words.
// Source: https://capnproto.org/encoding.html#serialization-over-a-stream
type frames struct {
	r    io.Reader
	head *bytes.Reader // the rest of the table
	body int64         // remaining bytes of the segments
}

func newFrames(r io.Reader) *frames { return &frames{r: r, head: bytes.NewReader(nil)} }

func (f *frames) Read(p []byte) (int, error) {
	if f.head.Len() == 0 && f.body == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if f.head.Len() > 0 {
		return f.head.Read(p)
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.body)])
	f.body -= int64(n)
	if err == io.EOF && f.body > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the table of the next message.
func (f *frames) next() error {
	var room [(1 + maxSegments + 1) * 4]byte
	table := room[:wordSize]
	if _, err := io.ReadFull(f.r, table); err != nil {
		return err
	}
	segments := int64(binary.LittleEndian.Uint32(table)) + 1
	if segments > maxSegments {
		return fmt.Errorf("message of %d segments", segments)
	}
	table = room[:wordSize+segments/2*wordSize]
	if _, err := io.ReadFull(f.r, table[wordSize:]); err != nil {
		return err
	}
	words := int64(0)
	for i := range segments {
		size := binary.LittleEndian.Uint32(table[4+4*i:])
		if i == 0 && size == 0 {
			return errors.New("message without content")
		}
		words += int64(size)
	}
	if words > maxMessageWords {
		return fmt.Errorf("message of %d words", words)
	}
	f.head.Reset(table)
	f.body = words * wordSize
	return nil
}
