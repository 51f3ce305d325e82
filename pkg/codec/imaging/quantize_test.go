package imaging

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// quantization returns the quantization tables of a JPEG by their number, each
// in zigzag order. It fails on tables that a baseline decoder cannot read.
func quantization(t *testing.T, jpeg []byte) map[byte][]byte {
	t.Helper()
	tables := make(map[byte][]byte)
	for at := 2; jpeg[at+1] != 0xDA; { // up to the first scan
		length := int(jpeg[at+2])<<8 | int(jpeg[at+3])
		if body := jpeg[at+4 : at+2+length]; jpeg[at+1] == 0xDB {
			for ; len(body) > 0; body = body[65:] {
				if body[0]>>4 != 0 {
					t.Fatal("a table has 16-bit steps, which baseline decoders refuse")
				}
				if slices.Contains(body[1:65], 0) {
					t.Fatal("a table has a step of 0")
				}
				tables[body[0]] = body[1:65]
			}
		}
		at += 2 + length
	}
	return tables
}

// Luma and chroma have the tables that were measured, at every quality.
func TestJPEGTables(t *testing.T) {
	gray := filepath.Join(t.TempDir(), "gray.png")
	vips(t, "extract_band", sample(t, "northern_cardinal_bird.jpg"), gray, "0")
	type steps struct{ dc, across, last byte } // frequencies (0, 0), (1, 0) and (7, 7)
	for _, test := range []struct {
		path         string
		quality      int
		luma, chroma steps
	}{
		{sample(t, "northern_cardinal_bird.jpg"), 1, steps{255, 255, 255}, steps{255, 255, 255}},
		{sample(t, "northern_cardinal_bird.jpg"), 50, steps{10, 19, 86}, steps{14, 21, 59}},
		{sample(t, "northern_cardinal_bird.jpg"), 80, steps{4, 7, 34}, steps{6, 8, 23}},
		{sample(t, "northern_cardinal_bird.jpg"), 100, steps{1, 1, 1}, steps{1, 1, 1}},
		{gray, 80, steps{4, 7, 34}, steps{}},
	} {
		t.Run(fmt.Sprint(filepath.Base(test.path), " ", test.quality), func(t *testing.T) {
			r := recipe([]ladder.Format{ladder.JPEG}, 64)
			r.Encoders[0].Quality = test.quality
			c, _ := render(t, test.path, r)
			for slot, want := range map[byte]steps{0: test.luma, 1: test.chroma} {
				table := quantization(t, c.files["64.jpg"])[slot]
				if table == nil {
					table = bytes.Repeat([]byte{0}, 64) // none, for gray
				}
				if got := (steps{table[0], table[1], table[63]}); got != want {
					t.Errorf("table %d has %v, want %v", slot, got, want)
				}
			}
		})
	}
}
