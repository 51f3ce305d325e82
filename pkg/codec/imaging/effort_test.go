package imaging

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Effort 0 shows the same image, still progressively, in fewer scans.
func TestJPEGEffortChangesNoPixel(t *testing.T) {
	gray := filepath.Join(t.TempDir(), "gray.png")
	vips(t, "extract_band", sample(t, "northern_cardinal_bird.jpg"), gray, "0")
	for _, test := range []struct {
		name, path, chroma string
		scans              [2]int // by effort
	}{
		{"color", sample(t, "northern_cardinal_bird.jpg"), ladder.Chroma420, [2]int{5, 10}},
		{"full chroma", sample(t, "northern_cardinal_bird.jpg"), ladder.Chroma444, [2]int{5, 10}},
		{"gray", gray, ladder.Chroma420, [2]int{3, 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var files [2][]byte
			for effort, scans := range test.scans {
				r := recipe([]ladder.Format{ladder.JPEG}, 200)
				r.Encoders[0].Effort, r.Encoders[0].Chroma = effort, test.chroma
				c, _ := render(t, test.path, r)
				files[effort] = c.files["200.jpg"]
				if !bytes.Contains(segments(t, files[effort]), []byte{0xC2}) {
					t.Errorf("effort %d is not progressive", effort)
				}
				if got := bytes.Count(files[effort], []byte{0xFF, 0xDA}); got != scans {
					t.Errorf("effort %d has %d scans, want %d", effort, got, scans)
				}
			}
			if !bytes.Equal(pixelsOf(t, "200.jpg", files[0]).Pix, pixelsOf(t, "200.jpg", files[1]).Pix) {
				t.Error("the efforts show different pixels")
			}
		})
	}
}
