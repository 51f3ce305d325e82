package imagefile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// The markers of a JPEG that matter here.
const (
	markerSOI  = 0xD8
	markerEOI  = 0xD9
	markerSOS  = 0xDA
	markerDNL  = 0xDC
	markerAPP1 = 0xE1
)

// processes are the kinds of JPEG by their frame header; "" is a supported one.
var processes = map[byte]string{
	0xC0: "", 0xC1: "", 0xC2: "",
	0xC3: "Lossless JPEG",
	0xC5: "Hierarchical JPEG", 0xC6: "Hierarchical JPEG", 0xC7: "Hierarchical JPEG",
	0xC9: "", 0xCA: "", // arithmetic coding
	0xCB: "Lossless JPEG",
	0xCD: "Hierarchical JPEG", 0xCE: "Hierarchical JPEG", 0xCF: "Hierarchical JPEG",
	0xF7: "JPEG-LS",
}

// jpegWalk reads a JPEG marker by marker.
type jpegWalk struct {
	r    *bufio.Reader
	at   int64 // bytes read from r
	info *Info

	oriented bool
	scans    int
	ended    bool // with an end marker
}

// inspectJPEG reads all segments and scans up to the end marker.
func inspectJPEG(r io.Reader, info *Info) error {
	w := jpegWalk{r: bufio.NewReaderSize(r, 64<<10), info: info}
	for {
		marker, ok := w.marker()
		if !ok {
			break
		}
		more, err := w.segment(marker)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if w.scans == 0 {
		return errDamaged
	}
	if !w.ended {
		info.NoEnd = true
		info.Edit = &Edit{At: w.at, Bytes: [2]byte{0xFF, markerEOI}, Size: w.at + 2}
	}
	return nil
}

// segment handles what follows a marker; more is false at the end of the image.
func (w *jpegWalk) segment(marker byte) (more bool, err error) {
	switch {
	case marker == markerEOI:
		w.ended = true
		return false, nil
	case marker == markerSOI || marker == 0x01 || isRestart(marker):
		return true, nil // they have no content
	}
	size, err := w.r.Peek(2)
	if err != nil {
		return false, nil
	}
	length := int(binary.BigEndian.Uint16(size))
	if length < 2 {
		return w.scans == 0, nil
	}
	if kind, frame := processes[marker]; frame {
		if err := w.frame(kind, length); err != nil {
			return false, err
		}
	}
	if marker == markerAPP1 && !w.oriented {
		w.exif(length)
	}
	if w.discard(length) < length {
		return false, nil
	}
	if marker == markerSOS {
		w.scans++
		return w.entropy(), nil
	}
	return true, nil
}

// frame inspects a frame header of a JPEG of that kind.
func (w *jpegWalk) frame(kind string, length int) error {
	b, _ := w.r.Peek(length)
	switch {
	case kind != "":
		return &Unsupported{kind}
	case len(b) < 8:
		return errDamaged
	case b[2] != 8:
		return &Unsupported{fmt.Sprintf("JPEG with %d bits per sample", b[2])}
	case b[3] == 0 && b[4] == 0:
		return &Unsupported{"JPEG with its height after the first scan"}
	case b[7] != 1 && b[7] != 3 && b[7] != 4:
		return &Unsupported{fmt.Sprintf("JPEG with %d components", b[7])}
	}
	return nil
}

// exif reads the orientation of an APP1 segment, if it is EXIF. The reader's
// buffer is as large as the largest segment.
func (w *jpegWalk) exif(length int) {
	b, _ := w.r.Peek(length)
	const head = 2
	if len(b) < head || !bytes.HasPrefix(b[head:], []byte("Exif\x00")) {
		return
	}
	if o := exifOrientation(b[head:]); o != 0 {
		w.info.Orientation, w.oriented = o, true
	}
}

// marker finds and consumes the next marker; false at the end of the file.
func (w *jpegWalk) marker() (byte, bool) {
	for {
		b, err := w.r.ReadByte()
		if err != nil {
			return 0, false
		}
		w.at++
		if b != 0xFF {
			continue
		}
		for b == 0xFF { // fill bytes
			if b, err = w.r.ReadByte(); err != nil {
				return 0, false
			}
			w.at++
		}
		if b != 0 {
			return b, true
		}
	}
}

// entropy skips the coded data of a scan up to the marker after it, which it does not
// consume. It returns false if no scan, table or end follows: the image ends there
// without its marker.
func (w *jpegWalk) entropy() bool {
	for {
		b, err := w.r.Peek(2)
		if len(b) == 0 {
			return false
		}
		if err == nil { // only what is buffered: peeking further would move the data for every marker
			b, err = w.r.Peek(w.r.Buffered())
		}
		at := bytes.IndexByte(b, 0xFF)
		switch {
		case at < 0:
			w.discard(len(b))
		case at > 0:
			w.discard(at)
		case len(b) == 1 && err != nil:
			return false // the file ends in the middle of a marker
		case b[1] == 0 || isRestart(b[1]):
			w.discard(2)
		case b[1] == 0xFF:
			w.discard(1)
		default:
			return mayFollowScan(b[1])
		}
	}
}

func (w *jpegWalk) discard(n int) int {
	n, _ = w.r.Discard(n)
	w.at += int64(n)
	return n
}

func isRestart(marker byte) bool { return marker >= 0xD0 && marker <= 0xD7 }

// mayFollowScan distinguishes markers between scans from unrelated bytes appended to
// the image.
func mayFollowScan(marker byte) bool {
	switch marker {
	case markerEOI, markerSOS, markerDNL, 0xC4, 0xCC, 0xDB, 0xDD, 0xFE: // tables and comments
		return true
	}
	return marker >= 0xE0 && marker <= 0xEF
}
