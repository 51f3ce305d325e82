package imagefile

import (
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func FuzzEXIF(f *testing.F) {
	for _, block := range []string{
		"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00",
		"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x08\x00\x00\x00",
		"II*\x00\xff\xff\xff\xff", "MM\x00*\x00\x00\x00\x08\xff\xff", "Exif\x00", "",
	} {
		f.Add([]byte(block))
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		if o := exifOrientation(block); o < 0 || o > 8 {
			t.Errorf("orientation %d", o)
		}
		if at := TakenAt(block); at != "" && !ladder.ValidTakenAt(at) {
			t.Errorf("taken at %q", at)
		}
	})
}
