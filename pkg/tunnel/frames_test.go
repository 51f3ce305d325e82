package tunnel

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/iotest"
)

// message returns a message with segments of these sizes, in words.
func message(words ...uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(words)-1))
	for _, n := range words {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	b = append(b, make([]byte, -len(b)&(wordSize-1))...)
	for i, n := range words {
		b = append(b, bytes.Repeat([]byte{byte(i + 1)}, int(n)*wordSize)...)
	}
	return b
}

func TestFramesPassMessagesOnUnchanged(t *testing.T) {
	stream := bytes.Join([][]byte{message(1), message(2, 0, 3), message(5, 7), message(1, 1, 1, 1)}, nil)
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
	} {
		got, err := io.ReadAll(newFrames(r))
		if err != nil || !bytes.Equal(got, stream) {
			t.Errorf("%s: got %d bytes and %v, want all %d", name, len(got), err, len(stream))
		}
	}
}

func TestFramesEndAtAMessageThatTheLibraryMustNotSee(t *testing.T) {
	first := message(2)
	large := message(1)
	binary.LittleEndian.PutUint32(large[4:], maxMessageWords+1)
	many := make([]byte, 8)
	binary.LittleEndian.PutUint32(many, 1<<31)
	for name, b := range map[string][]byte{
		"an empty first segment":            message(0),
		"an empty first segment of several": message(0, 1),
		"too many segments":                 many,
		"too large":                         large,
		"cut in its table":                  message(1, 1)[:10],
		"cut in its segments":               message(3)[:20],
	} {
		got, err := io.ReadAll(newFrames(bytes.NewReader(append(bytes.Clone(first), b...))))
		if err == nil || !bytes.HasPrefix(got, first) {
			t.Errorf("%s: got %d bytes and %v, want the message before it and an error", name, len(got), err)
		}
	}
}
