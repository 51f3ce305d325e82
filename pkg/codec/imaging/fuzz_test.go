package imaging

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// FuzzRender renders whatever is found, with an allocation refused now and then,
// as the input says. It is worth most with AddressSanitizer: make sanitize.
func FuzzRender(f *testing.F) {
	for _, format := range []string{"jpeg", "png", "webp", "gif", "heic", "avif", "tiff"} {
		b, err := samples.ReadFile("samples/" + format)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, -1)
		f.Add(b, 3)
	}
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		t := tiffFile{photometric: 1, bits: 8, quarters: [4][]float64{{0, 1}, {1, 1}, {1, 0}, {0, 1}}, extra: []uint32{2}, separate: true, order: order}
		f.Add(t.bytes(), -1)
	}
	engine()
	limits := ladder.Limits{MaxPixels: 1 << 20, MaxFrames: 20, MaxMemory: 256 << 20}
	allowed := map[fault.Code]bool{
		"": true, fault.UnsupportedFormat: true, fault.CorruptImage: true,
		fault.TooManyPixels: true, fault.TooManyFrames: true, fault.ProcessingFailed: true,
	}
	f.Fuzz(func(t *testing.T, b []byte, refuse int) {
		path := filepath.Join(t.TempDir(), "fuzz")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if refuse >= 0 {
			refuseAllocation(refuse%64, 1<<20) // large ones, as those of pixels are
			defer refuseAllocation(-1, 0)
		}
		_, err = engine().Render(context.Background(), src, recipe(defaultFormats, 16, 64), limits, new(collector))
		if code := fault.CodeOf(err); err != nil && !allowed[code] {
			t.Errorf("%v", err)
		}
	})
}
