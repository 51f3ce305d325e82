package ladder_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// made lists the files of a plan with their qualities.
func made(t interface{ Fatalf(string, ...any) }, r ladder.Recipe, width int) string {
	var files []string
	for _, v := range r.Plan(width, width).Variants {
		var qualities []int
		for _, e := range r.Encoders {
			if e.Format == v.Format && e.Encodes(v.Width) {
				qualities = append(qualities, e.Quality)
			}
		}
		if len(qualities) != 1 {
			t.Fatalf("%s has the qualities %v, want one", v.Name(), qualities)
		}
		files = append(files, fmt.Sprintf("%s:%d", v.Name(), qualities[0]))
	}
	return strings.Join(files, " ")
}

func TestFormatsAndQualitiesByWidth(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*ladder.Config)
		want   string
	}{
		{"everything everywhere", func(*ladder.Config) {}, "640.webp:80 1280.webp:80 1500.webp:80 640.jpg:80 1280.jpg:80 1500.jpg:80"},
		{
			"AVIF instead of WebP", func(c *ladder.Config) {
				c.Formats = []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF}
				c.FormatWidths.WebP.To, c.FormatWidths.AVIF.From = 1279, 1280
			},
			"640.webp:80 640.jpg:80 1280.jpg:80 1500.jpg:80 1280.avif:67 1500.avif:67",
		},
		{"the ends are included", func(c *ladder.Config) { c.FormatWidths.WebP = ladder.Range{From: 1280, To: 1280} }, "1280.webp:80 640.jpg:80 1280.jpg:80 1500.jpg:80"},
		{
			"qualities", func(c *ladder.Config) { c.QualityByWidth.WebP = []ladder.Step{"76@1280", "72@1281"} },
			"640.webp:80 1280.webp:76 1500.webp:72 640.jpg:80 1280.jpg:80 1500.jpg:80",
		},
		{
			"a quality before the range of its format", func(c *ladder.Config) {
				c.FormatWidths.WebP.From = 1280
				c.QualityByWidth.WebP = []ladder.Step{"76@640", "72@1500"}
			},
			"1280.webp:76 1500.webp:72 640.jpg:80 1280.jpg:80 1500.jpg:80",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := ladder.DefaultConfig()
			c.Widths = []int{640, 1280, 1600}
			tc.change(&c)
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			if got := made(t, c.Recipe(), 1500); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestSingleVariantIsMadeWhereTheLadderHasNone(t *testing.T) {
	c := ladder.ProfileConfig(ladder.SmallBoardProfile)
	c.QualityByWidth.WebP = []ladder.Step{"70@1600"}
	if got, want := made(t, c.Single(ladder.Box{Width: 2000}, ladder.WebP), 4000), "2000.webp:70"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Whatever the ranges, each width has a file, and each file one encoder.
func TestWidthsAllHaveAFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := ladder.DefaultConfig()
		c.Formats = []ladder.Format{ladder.AVIF, ladder.WebP, ladder.JPEG}
		for _, r := range []*ladder.Range{&c.FormatWidths.WebP, &c.FormatWidths.AVIF} {
			r.From = rapid.IntRange(0, 2500).Draw(t, "from")
			if rapid.Bool().Draw(t, "ends") {
				r.To = rapid.IntRange(max(r.From, 1), 2600).Draw(t, "to")
			}
		}
		from := rapid.SliceOfNDistinct(rapid.IntRange(1, 2500), 0, 4, rapid.ID[int]).Draw(t, "steps")
		slices.Sort(from)
		for _, w := range from {
			c.QualityByWidth.WebP = append(c.QualityByWidth.WebP, ladder.Step(fmt.Sprintf("70@%d", w)))
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		source := rapid.IntRange(1, 3000).Draw(t, "source")
		made(t, c.Recipe(), source)
		plan := c.Recipe().Plan(source, source)
		for _, rung := range plan.Rungs {
			if !slices.ContainsFunc(plan.Variants, func(v ladder.Variant) bool { return v.Width == rung.Width }) {
				t.Fatalf("width %d has no file", rung.Width)
			}
		}
	})
}

func TestProfilesAreValid(t *testing.T) {
	fingerprints := make(map[string]string)
	for _, name := range ladder.Profiles() {
		c := ladder.ProfileConfig(name)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Profile != name {
			t.Errorf("%s calls itself %s", name, c.Profile)
		}
		fingerprint := c.Recipe().ShortFingerprint()
		if other := fingerprints[fingerprint]; other != "" {
			t.Errorf("%s makes the same as %s", name, other)
		}
		fingerprints[fingerprint] = name
	}
}

func TestWidthsAllHaveAFileWithoutAFormat(t *testing.T) {
	c := ladder.DefaultConfig()
	c.FormatWidths.JPEG.To = 960
	c = c.WithFormats([]ladder.Format{ladder.JPEG})
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c = ladder.ProfileConfig(ladder.SmallBoardProfile)
	if got := c.WithFormats([]ladder.Format{ladder.WebP, ladder.JPEG}).FormatWidths; got != c.FormatWidths {
		t.Errorf("the limits are %v, want those of the profile", got)
	}
}

func TestFormatsWithoutAWidthAreFound(t *testing.T) {
	c := ladder.DefaultConfig()
	c.FormatWidths.WebP.From = 2048
	if got := c.Unmade(); len(got) > 0 {
		t.Errorf("%v is made at 2048", got)
	}
	c.FormatWidths.WebP.From = 2049
	if got := c.Unmade(); !slices.Equal(got, []ladder.Format{ladder.WebP}) {
		t.Errorf("got %v, want WebP", got)
	}
}
