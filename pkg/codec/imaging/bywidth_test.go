package imaging

import (
	"maps"
	"slices"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Each rung has the formats and the qualities of its width, and those alone.
func TestFormatsAndQualitiesByWidth(t *testing.T) {
	c := ladder.DefaultConfig()
	c.Widths = []int{120, 240, 480}
	c.Formats = []ladder.Format{ladder.JPEG, ladder.WebP, ladder.AVIF}
	c.FormatWidths.WebP.To, c.FormatWidths.AVIF.From = 240, 240
	c.Quality.AVIF = 30 // smaller than WebP
	c.QualityByWidth.JPEG = []ladder.Step{"85@200", "95@480"}
	got, summary := render(t, sample(t, "northern_cardinal_bird.jpg"), c.Recipe())
	want := []string{"120.jpg", "120.webp", "240.avif", "240.jpg", "240.webp", "480.avif", "480.jpg"}
	if files := slices.Sorted(maps.Keys(got.files)); !slices.Equal(files, want) {
		t.Errorf("got %v, want %v", files, want)
	}
	if len(summary.Omitted) > 0 {
		t.Errorf("%v is omitted, which was not requested", summary.Omitted)
	}
	for name, step := range map[string]byte{"120.jpg": 4, "240.jpg": 3, "480.jpg": 1} { // lowest of luma at 80, 85 and 95
		if got := quantization(t, got.files[name])[0][0]; got != step {
			t.Errorf("%s has a quantization step of %d, want %d", name, got, step)
		}
	}
}
