package ladder_test

import (
	"crypto/sha256"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestRungs(t *testing.T) {
	recipe := ladder.DefaultConfig().Recipe()
	for _, tc := range []struct {
		name          string
		width, height int
		want          []ladder.Rung
	}{
		{"wider than the ladder", 4000, 6000, []ladder.Rung{{320, 480}, {480, 720}, {640, 960}, {960, 1440}, {1280, 1920}, {1600, 2400}, {2048, 3072}}},
		{"between two rungs", 1920, 1080, []ladder.Rung{{320, 180}, {480, 270}, {640, 360}, {960, 540}, {1280, 720}, {1600, 900}, {1920, 1080}}},
		{"on a rung", 640, 10, []ladder.Rung{{320, 5}, {480, 8}, {640, 10}}},
		{"on the last rung", 2048, 2, []ladder.Rung{{320, 1}, {480, 1}, {640, 1}, {960, 1}, {1280, 1}, {1600, 2}, {2048, 2}}},
		{"below the first", 300, 400, []ladder.Rung{{300, 400}}},
		{"one pixel", 1, 1, []ladder.Rung{{1, 1}}},
		{"a line stays at least one pixel high", 5000, 1, []ladder.Rung{{320, 1}, {480, 1}, {640, 1}, {960, 1}, {1280, 1}, {1600, 1}, {2048, 1}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := recipe.Plan(tc.width, tc.height).Rungs; !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestVariantsAreOrderedByFormatThenWidth(t *testing.T) {
	plan := ladder.DefaultConfig().Recipe().Plan(500, 500)
	var names []string
	for _, v := range plan.Variants {
		names = append(names, v.Name())
	}
	want := "320.webp 480.webp 500.webp 320.jpg 480.jpg 500.jpg"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFormatTooSmallForARungIsOmitted(t *testing.T) {
	plan := ladder.DefaultConfig().Recipe().Plan(400, 18000)
	var jpegs int
	for _, v := range plan.Variants {
		switch {
		case v.Format == ladder.JPEG:
			jpegs++
		case v.Height > 16383:
			t.Errorf("%s of height %d is planned", v.Name(), v.Height)
		}
	}
	if jpegs != 2 {
		t.Errorf("%d JPEGs, want 2", jpegs)
	}
	want := []ladder.Omission{{Format: ladder.WebP, Width: 400, Reason: ladder.BeyondLimit}}
	if !slices.Equal(plan.Omitted, want) {
		t.Errorf("omitted %v, want %v", plan.Omitted, want)
	}
}

func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := ladder.DefaultConfig()
		c.Widths = rapid.SliceOfNDistinct(rapid.IntRange(1, 16383), 1, 16, rapid.ID[int]).Draw(t, "widths")
		slices.Sort(c.Widths)
		width := rapid.IntRange(1, 30000).Draw(t, "width")
		height := rapid.IntRange(1, 30000).Draw(t, "height")
		plan := c.Recipe().Plan(width, height)

		if len(plan.Rungs) == 0 {
			t.Fatal("no rung at all")
		}
		previous := 0
		for _, g := range plan.Rungs {
			if g.Width > width || g.Height > height {
				t.Fatalf("%v enlarges %d × %d", g, width, height)
			}
			if g.Width <= previous {
				t.Fatalf("width %d follows %d", g.Width, previous)
			}
			previous = g.Width
			exact := float64(height) * float64(g.Width) / float64(width)
			if g.Height != 1 && math.Abs(float64(g.Height)-exact) > 0.5 {
				t.Fatalf("%v: the height is %.2f from the aspect ratio", g, float64(g.Height)-exact)
			}
		}
		if widest := min(width, c.Widths[len(c.Widths)-1]); previous != widest {
			t.Fatalf("the top rung is %d wide, want %d", previous, widest)
		}
		if got, want := len(plan.Variants)+len(plan.Omitted), len(plan.Rungs)*len(c.Formats); got != want {
			t.Fatalf("%d variants and omissions, want %d", got, want)
		}
	})
}

// The literal ids were computed once for this version of the engine; a change
// here breaks every URL that a daemon has handed out, on every machine.
func TestIDsChangeWithTheEngineAlone(t *testing.T) {
	recipe := ladder.DefaultConfig().Recipe()
	if got, want := recipe.ShortFingerprint(), "96b01e7a"; got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
	if got, want := recipe.ID(sha256.Sum256([]byte("cat"))), "vtcg6uv3omdzvab7qq2wyib4am"; got != want {
		t.Errorf("id %s, want %s", got, want)
	}
}

func TestIDDependsOnWhateverChangesBytes(t *testing.T) {
	source := sha256.Sum256([]byte("cat"))
	base := ladder.DefaultConfig().Recipe().ID(source)
	if !ladder.ValidID(base) {
		t.Fatalf("%q is not a valid id", base)
	}
	changes := map[string]func(*ladder.Config){
		"widths":       func(c *ladder.Config) { c.Widths = c.Widths[1:] },
		"formats":      func(c *ladder.Config) { c.Formats = c.Formats[:1] },
		"webp quality": func(c *ladder.Config) { c.Quality.WebP++ },
		"jpeg quality": func(c *ladder.Config) { c.Quality.JPEG++ },
		"webp effort":  func(c *ladder.Config) { c.Effort.WebP-- },
		"jpeg effort":  func(c *ladder.Config) { c.Effort.JPEG-- },
		"chroma":       func(c *ladder.Config) { c.ChromaSubsampling = ladder.Chroma444 },
		"background":   func(c *ladder.Config) { c.Background = "#000000" },
		"webp range":   func(c *ladder.Config) { c.FormatWidths.WebP.To = 960 },
		"webp steps":   func(c *ladder.Config) { c.QualityByWidth.WebP = []ladder.Step{"76@1280"} },
	}
	for name, change := range changes {
		c := ladder.DefaultConfig()
		change(&c)
		if err := c.Validate(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.Recipe().ID(source) == base {
			t.Errorf("another %s gives the same id", name)
		}
	}
	if ladder.DefaultConfig().Recipe().ID(sha256.Sum256([]byte("dog"))) == base {
		t.Error("another source gives the same id")
	}
}

func TestSettingsOfAFormatNotMadeDoNotChangeTheID(t *testing.T) {
	c := ladder.DefaultConfig()
	c.Quality.AVIF, c.Effort.AVIF, c.FormatWidths.AVIF.From = 30, 7, 1280
	if c.Recipe().Fingerprint() != ladder.DefaultConfig().Recipe().Fingerprint() {
		t.Error("the AVIF settings change the fingerprint of a recipe without AVIF")
	}
}

func TestValidID(t *testing.T) {
	for _, bad := range []string{"", "short", strings.Repeat("A", 26), strings.Repeat("1", 26), "../../../../etc/passwd/aaaa", strings.Repeat("a", 27)} {
		if ladder.ValidID(bad) {
			t.Errorf("%q is taken for an id", bad)
		}
	}
}

func TestConfigErrorsNameTheKeyAndTheValue(t *testing.T) {
	for want, change := range map[string]func(*ladder.Config){
		"ladder.widths: must list at least one":                                                                      func(c *ladder.Config) { c.Widths = nil },
		"ladder.widths[2]: must be greater than 640, the width before it (got 320)":                                  func(c *ladder.Config) { c.Widths = []int{480, 640, 320} },
		"ladder.widths[0]: must be from 1 to 16383 pixels (got 0)":                                                   func(c *ladder.Config) { c.Widths[0] = 0 },
		`ladder.formats[1]: must be one of [webp jpeg avif] (got "png")`:                                             func(c *ladder.Config) { c.Formats[1] = "png" },
		`ladder.formats[1]: "webp" is listed twice`:                                                                  func(c *ladder.Config) { c.Formats[1] = "webp" },
		"ladder.formats: must list at least one":                                                                     func(c *ladder.Config) { c.Formats = nil },
		"ladder.quality.jpeg: must be from 1 to 100 (got 101)":                                                       func(c *ladder.Config) { c.Quality.JPEG = 101 },
		"ladder.effort.jpeg: must be one of [0 1] (got 2)":                                                           func(c *ladder.Config) { c.Effort.JPEG = 2 },
		"ladder.effort.avif: must be one of [0 2 3 4 5 6 7 8] (got 1)":                                               func(c *ladder.Config) { c.Effort.AVIF = 1 },
		`ladder.chroma_subsampling: must be "4:2:0" or "4:4:4" (got "4:1:1")`:                                        func(c *ladder.Config) { c.ChromaSubsampling = "4:1:1" },
		`ladder.profile: must be one of [default small-board small-files] (got "fast")`:                              func(c *ladder.Config) { c.Profile = "fast" },
		"ladder.format_widths.webp.to: must be at least 1280, where the range begins (got 960)":                      func(c *ladder.Config) { c.FormatWidths.WebP = ladder.Range{From: 1280, To: 960} },
		"ladder.format_widths.jpeg.from: must be from 0 (no limit) to 16383 pixels (got -1)":                         func(c *ladder.Config) { c.FormatWidths.JPEG.From = -1 },
		"ladder.format_widths: one of ladder.formats must have no limits":                                            func(c *ladder.Config) { c.FormatWidths.WebP.To, c.FormatWidths.JPEG.To = 960, 1280 },
		`ladder.quality_by_width.webp[0]: must be QUALITY@WIDTH, such as 76@1280 (got "76")`:                         func(c *ladder.Config) { c.QualityByWidth.WebP = []ladder.Step{"76"} },
		`ladder.quality_by_width.webp[1]: must begin at a greater width than the one before it, 1280 (got "72@960")`: func(c *ladder.Config) { c.QualityByWidth.WebP = []ladder.Step{"76@1280", "72@960"} },
		`ladder.background: must be a color like #ffffff (got "white")`:                                              func(c *ladder.Config) { c.Background = "white" },
	} {
		c := ladder.DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := ladder.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

func TestSingleVariantFitsItsBox(t *testing.T) {
	for _, tc := range []struct {
		name          string
		fit           ladder.Box
		width, height int
		want          ladder.Rung
	}{
		{"by width", ladder.Box{Width: 800}, 4000, 6000, ladder.Rung{Width: 800, Height: 1200}},
		{"by height", ladder.Box{Height: 600}, 4000, 6000, ladder.Rung{Width: 400, Height: 600}},
		{"a portrait in a landscape box", ladder.Box{Width: 800, Height: 600}, 4000, 6000, ladder.Rung{Width: 400, Height: 600}},
		{"a landscape in a portrait box", ladder.Box{Width: 600, Height: 800}, 6000, 4000, ladder.Rung{Width: 600, Height: 400}},
		{"never enlarged by width", ladder.Box{Width: 800}, 500, 400, ladder.Rung{Width: 500, Height: 400}},
		{"never enlarged by height", ladder.Box{Height: 800}, 500, 400, ladder.Rung{Width: 500, Height: 400}},
		{"its own size", ladder.Box{}, 5000, 4000, ladder.Rung{Width: 5000, Height: 4000}},
		{"a line stays at least one pixel", ladder.Box{Width: 320, Height: 10}, 1, 5000, ladder.Rung{Width: 1, Height: 10}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := ladder.DefaultConfig().Single(tc.fit, ladder.WebP).Plan(tc.width, tc.height)
			if !slices.Equal(plan.Rungs, []ladder.Rung{tc.want}) || len(plan.Variants) != 1 || plan.Variants[0].Format != ladder.WebP {
				t.Errorf("got %+v, want the one rung %v in WebP", plan, tc.want)
			}
		})
	}
}

func TestSingleVariantStaysWithinItsBox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 20000)
		w, h := side.Draw(t, "width"), side.Draw(t, "height")
		box := ladder.Box{Width: rapid.IntRange(0, 3000).Draw(t, "box width"), Height: rapid.IntRange(0, 3000).Draw(t, "box height")}
		r := ladder.DefaultConfig().Single(box, ladder.JPEG).Plan(w, h).Rungs[0]
		if r.Width < 1 || r.Height < 1 || r.Width > w || r.Height > h ||
			box.Width > 0 && r.Width > box.Width || box.Height > 0 && r.Height > box.Height {
			t.Fatalf("%d × %d in %+v becomes %v", w, h, box, r)
		}
	})
}

func TestRecipeIsOfOneKind(t *testing.T) {
	c := ladder.DefaultConfig()
	both := c.Recipe()
	both.Fit = &ladder.Box{}
	for name, tc := range map[string]struct {
		recipe ladder.Recipe
		want   bool
	}{
		"ladder": {c.Recipe(), true}, "single": {c.Single(ladder.Box{}, ladder.AVIF), true},
		"both": {both, false}, "neither": {ladder.Recipe{Encoders: c.Recipe().Encoders}, false},
		"no format": {ladder.Recipe{Widths: c.Widths}, false},
	} {
		if got := tc.recipe.Valid(); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
	if c.Single(ladder.Box{Width: 800}, ladder.WebP).Fingerprint() == c.Single(ladder.Box{Height: 800}, ladder.WebP).Fingerprint() {
		t.Error("width and height give one fingerprint")
	}
}

func TestLadderFormatsThatTheCodecCannotWrite(t *testing.T) {
	c := ladder.DefaultConfig()
	c.Formats = []ladder.Format{ladder.AVIF, ladder.WebP, ladder.JPEG}
	outputs := []ladder.Format{ladder.JPEG, ladder.WebP}
	if got := c.Writable(outputs); !slices.Equal(got, []ladder.Format{ladder.WebP, ladder.JPEG}) {
		t.Errorf("writable are %v", got)
	}
	if err := c.CheckWritable(outputs); err == nil || !strings.Contains(err.Error(), "ladder.formats: [avif webp jpeg] is configured") {
		t.Errorf("got %v", err)
	}
	if err := c.CheckWritable(c.Formats); err != nil {
		t.Error(err)
	}
}
