package jpegdc_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/jpeg"
	"math"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/codec/imaging/jpegdc"
)

// progressive is a JPEG of 50 × 40 pixels whose left and upper parts have other
// colors than the rest, in the scans of jpeg_simple_progression, with chroma of
// half the size.
const progressive = `/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYV
pQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wgARCAAo
ADIDASIAAhEBAxEB/8QAGAAAAwEBAAAAAAAAAAAAAAAAAAMEAgb/xAAXAQEAAwAAAAAAAAAAAAAAAAAEAgMF/9oADAMBAAIQAxAAAAHG5mBz6a
YKkKqZKxiaBJC7nmSsJnU1QUoTUybbE0iSF/OsAeYykEKawGJ0BC7/xAAXEAEBAQEAAAAAAAAAAAAAAAAAEQEh/9oACAEBAAEFAqqs3lVVVWby
qqqrN5VVVVm8qqqqzeVVf//EABgRAQEBAQEAAAAAAAAAAAAAAAACARIR/9oACAEDAQE/AYlkolyiWSiXKMZiMeP/xAAaEQEBAAMBAQAAAAAAAA
AAAAABAAQRIRAx/9oACAECAQE/AUsU6yWpLFOslqbF+s+f/8QAFBABAAAAAAAAAAAAAAAAAAAAUP/aAAgBAQAGPwIP/8QAFxABAQEBAAAAAAAA
AAAAAAAAAAEQIf/aAAgBAQABPyGEIciEwhCHIhMIQhyITCEIciEwhCHIhMP/2gAMAwEAAgADAAAAEE2qP6p9Qv3gP//EABkRAAIDAQAAAAAAAA
AAAAAAAAABEBEhIP/aAAgBAwEBPxAslxLJTFCqQoof/8QAGhEBAQACAwAAAAAAAAAAAAAAAQAQkREggf/aAAgBAgEBPxCdd0brssETygXBf//E
ABcQAAMBAAAAAAAAAAAAAAAAAAEgkRD/2gAIAQEAAT8Q2qAHpVAD0qgB6VQA9KoASn//2Q==`

func sample(t testing.TB) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(progressive) // which skips line ends
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// meanOf is the mean of the upper left pixels by Go's own decoder.
func meanOf(t *testing.T, file []byte, columns, rows int) (mean [3]float64) {
	t.Helper()
	m, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for y := range rows {
		for x := range columns {
			r, g, b, _ := m.At(x, y).RGBA()
			for i, v := range []uint32{r, g, b} {
				mean[i] += float64(v>>8) / float64(rows*columns)
			}
		}
	}
	return mean
}

func TestMeanIsThatOfTheWholeDecoder(t *testing.T) {
	file := sample(t)
	for _, part := range []image.Point{{16, 16}, {48, 16}, {16, 32}, {48, 32}} {
		top, err := jpegdc.Read(file, part.X, part.Y)
		if err != nil {
			t.Fatal(err)
		}
		if top.Width != 50 || top.Height != 40 {
			t.Errorf("%d × %d pixels", top.Width, top.Height)
		}
		want := meanOf(t, file, part.X, part.Y)
		for i := range want {
			if d := math.Abs(top.Mean[i] - want[i]); d > 2+top.Coarse {
				t.Errorf("%v: mean %.1f, want %.1f within %.1f", part, top.Mean, want, top.Coarse)
			}
		}
	}
}

func TestFileWithoutAnyPart(t *testing.T) {
	top, err := jpegdc.Read(sample(t), 0, 0)
	if err != nil || top.Width != 50 || top.Height != 40 {
		t.Errorf("got %+v, %v", top, err)
	}
	if _, err := jpegdc.Read(sample(t), 64, 16); err == nil {
		t.Error("columns beyond the image were read")
	}
}

func TestFilesThatAreIncompleteAreRefused(t *testing.T) {
	file := sample(t)
	for n := range file {
		if _, err := jpegdc.Read(file[:n], 16, 16); err == nil {
			t.Errorf("cut at %d of %d", n, len(file))
		}
	}
	if _, err := jpegdc.Read(append(bytes.Clone(file), 0), 16, 16); err == nil {
		t.Error("bytes after the end are not an error")
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewRGBA(image.Rect(0, 0, 20, 20)), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := jpegdc.Read(b.Bytes(), 16, 16); err == nil {
		t.Error("a JPEG that is not progressive is not an error")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sample(f), 16, 16)
	f.Fuzz(func(t *testing.T, b []byte, columns, rows int) {
		top, err := jpegdc.Read(b, columns&^15&0xFFFF, rows&^15&0xFFFF)
		if err == nil && (top.Width < 1 || top.Height < 1) {
			t.Errorf("%+v", top)
		}
	})
}
