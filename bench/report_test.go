package main

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// row is the line of a page that has all of these.
func row(t *testing.T, page string, words ...string) string {
	t.Helper()
	for line := range strings.Lines(page) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no line with %q in:\n%s", words, page)
	return ""
}

func pageOf(t *testing.T, r results) string {
	t.Helper()
	var page strings.Builder
	if err := report(&page, r); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

func TestTargetIsMetUpToItsLimit(t *testing.T) {
	for _, c := range []struct {
		target target
		met    string
	}{
		{target{Limit: 0.42, Measured: 0.42}, "yes"},
		{target{Limit: 0.42, Measured: 0.4201}, "**no**"},
		{target{Limit: 0.95, Measured: 0.96, Least: true}, "yes"},
		{target{Limit: 0.95, Measured: 0.94, Least: true}, "**no**"},
		{target{Limit: 0.95, Measured: math.NaN()}, "not measured"},
		{target{Limit: 0.95, Measured: math.NaN(), Least: true}, "not measured"},
	} {
		if got := c.target.Met(); got != c.met {
			t.Errorf("%+v: %q, want %q", c.target, got, c.met)
		}
	}
}

func TestPageSaysWhatWasNotMeasured(t *testing.T) {
	page := pageOf(t, results{Rounds: 1})
	if got, want := row(t, page, photo24MP, "to sharp"), "| vertical.jpg: CPU, one thread, to sharp | at most 0.440 | – | not measured | `make bench PARTS=ladder` |"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, line := range []string{"## The complete ladder", "## Memory", "## Serving files", "## Profiles", "NaN"} {
		if strings.Contains(page, line) {
			t.Errorf("the page has %q, and nothing was measured", line)
		}
	}
	if !strings.Contains(page, notes) {
		t.Error("the sections that a person wrote are not there as they are")
	}
}

// The figures of the page are of a run; what a person writes about them can change
// later.
func TestPageInTheDocsHasTheNotes(t *testing.T) {
	page, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(page), notes) {
		t.Error("docs/performance.md does not end with bench/notes.md: copy them there, or run make bench")
	}
}

func TestPageHoldsTheFiguresAgainstTheTargets(t *testing.T) {
	page := pageOf(t, results{
		Rounds: 3,
		Ladder: []ladderResult{{
			Photo: photo24MP, Wall: spread{1.2, 1.1, 1.3}, WallToCPU: spread{0.55, 0.5, 0.6},
			Contestants: []ladderOf{
				{Name: ours, CPU: spread{2, 1.9, 2.1}},
				{Name: sharp, CPU: spread{5, 4, 6}, Ratio: spread{0.4, 0.39, 0.41}},
			},
		}},
		Quality: []qualityRow{{
			Format: ladder.WebP, Contestant: sharp, Ratio: map[string]mean{"distance": {1.02, 0.9, 1.1}},
			Photos: map[string]map[string]float64{photo24MP: {"distance": 1.02}},
		}},
		AVIF: []avifResult{{
			Width: 1280, CPU: spread{0.5, 0.4, 0.6}, Bytes: map[string]mean{"distance": {0.95, 0.8, 1.2}},
			Quality: map[string]spread{"distance": {65, 60, 70}},
		}},
		Profiles: []profileResult{
			{Profile: ladder.SmallBoardProfile, Photo: photo24MP, CPU: spread{0.6, 0.5, 0.7}, Loaded: map[string]float64{"distance": 0.9}},
			{Profile: ladder.SmallBoardProfile, Photo: "small.jpg", CPU: spread{0.6, 0.5, 0.7}},
		},
		Memory: &memoryResult{IdleDaemon: 20e6, IdleChild: 41e6, Peak: map[string]int64{ours: 150e6}, FourAtOnce: 300e6},
		Load:   []loadResult{{Clients: 1, Busy: 0.6}, {Clients: 8, Busy: 0.97}},
	})
	for _, want := range []struct {
		words []string
		row   string
	}{
		{[]string{photo24MP, "to sharp"}, "at most 0.440 | 0.400 | yes"},
		{[]string{photo24MP, "wall"}, "at most 0.600 | 0.550 | yes"},
		{[]string{"webp: bytes to sharp's at equal distance"}, "at most 1.000 | 1.020 | **no**"},
		{[]string{"jpeg: bytes to floor's at equal distance"}, "at most 0.880 | – | not measured"},
		{[]string{"| webp | sharp |", "("}, "1.020 (0.90–1.10)"},
		{[]string{photo24MP, "| webp | sharp |"}, "1.020"},
		{[]string{"small-board: CPU"}, "at most 0.700 | 0.600 | yes"},
		{[]string{"small-board: bytes loaded"}, "at most 1.020 | 0.900 | yes"},
		{[]string{"small-files: CPU"}, "at most 1.350 | – | not measured"},
		{[]string{"| small-board | vertical.jpg |"}, "| 0.60 (0.50–0.70) |"},
		{[]string{"| 1280 | 0 |"}, "0.50 (0.40–0.60) | 0.950 (0.80–1.20) | 65 |"},
		{[]string{"idle: a child, MB"}, "at most 40.0 | 41.0 | **no**"},
		{[]string{"four such uploads at once, to one"}, "at most 1.600 | 2.000 | **no**"},
		{[]string{"share of all cores"}, "at least 0.950 | 0.970 | yes"},
		{[]string{photo24MP, "| sharp |"}, "| 5.00 s | 4.00–6.00 | 0.40 (0.39–0.41) |"},
	} {
		if got := row(t, page, want.words...); !strings.Contains(got, want.row) {
			t.Errorf("%s\nwant %s", got, want.row)
		}
	}
}
