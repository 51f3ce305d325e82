package imaging

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// unencoded is the work of a ladder with both default formats, before it begins.
func unencoded(widths ...int) *work {
	c := new(cascade)
	for _, width := range widths {
		c.rungs = append(c.rungs, &rung{size: ladder.Rung{Width: width, Height: 1}, formats: defaultFormats})
	}
	return &work{cascade: c, encoders: recipe(defaultFormats, 1).Encoders, ladder: true}
}

// named lists the tasks of each phase.
func named(phases []phase) (names []string) {
	for _, p := range phases {
		var files []string
		for _, t := range p.tasks {
			files = append(files, ladder.Variant{Width: t.rung.size.Width, Format: t.encoder.Format}.Name())
		}
		names = append(names, strings.Join(files, " "))
	}
	return names
}

func TestTheSmallestRungAndThenTheLargestDecide(t *testing.T) {
	w := unencoded(800, 400, 200, 100)
	phases := w.phases(w.tasks())
	want := []string{"100.webp 100.jpg 800.jpg", "800.webp 400.jpg 200.jpg", "400.webp 200.webp"}
	if got := named(phases); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Without a doubt the rest is as usual: the most expensive first.
	all := "800.webp 400.webp 400.jpg 200.webp 200.jpg"
	if got := named([]phase{{tasks: rest(phases[1:])}})[0]; got != all {
		t.Errorf("got %q, want %q", got, all)
	}
	for name, change := range map[string]func(*work){
		"an animation":     func(w *work) { w.animated = true },
		"a single variant": func(w *work) { w.ladder = false },
	} {
		change(w)
		if got := w.phases(w.tasks()); len(got) != 1 {
			t.Errorf("%s has %d phases, want one", name, len(got))
		}
		w.animated, w.ladder = false, true
	}
	w = unencoded(800, 100)
	if got := w.phases(w.tasks()); len(got) != 1 {
		t.Errorf("two rungs have %d phases, want one", len(got))
	}
}

func TestOnlyAFormatThatBothOmitIsInDoubt(t *testing.T) {
	webp, both := []ladder.Format{ladder.WebP}, []ladder.Format{ladder.WebP, ladder.AVIF}
	for _, test := range []struct{ smallest, largest, want []ladder.Format }{
		{nil, nil, nil},
		{webp, nil, nil},
		{nil, webp, nil},
		{webp, webp, webp},
		{both, webp, webp},
	} {
		got := inDoubt([]*batch{{notSmaller: test.smallest}, {notSmaller: test.largest}})
		if !slices.Equal(got, test.want) {
			t.Errorf("%v and %v: got %v, want %v", test.smallest, test.largest, got, test.want)
		}
	}
}

// What is not encoded is listed as what is encoded and dropped is.
func TestSkippedFilesAreOmitted(t *testing.T) {
	c := ladder.DefaultConfig()
	c.Widths = []int{100, 200, 300, 400}
	c.Quality = ladder.Quality{WebP: 95, JPEG: 30, AVIF: 50}
	for _, test := range []struct {
		webp    int
		omitted []int
	}{
		{95, c.Widths},
		{10, nil},
	} {
		c.Quality.WebP = test.webp
		got, summary := render(t, sample(t, "northern_cardinal_bird.jpg"), c.Recipe())
		var omitted []int
		for _, o := range summary.Omitted {
			if o.Format != ladder.WebP || o.Reason != ladder.NotSmaller {
				t.Errorf("%v is omitted", o)
			}
			omitted = append(omitted, o.Width)
		}
		if !slices.Equal(omitted, test.omitted) {
			t.Errorf("WebP %d is omitted at %v, want %v", test.webp, omitted, test.omitted)
		}
		var want []string
		for _, width := range c.Widths {
			want = append(want, fmt.Sprintf("%d.jpg", width))
			if test.omitted == nil {
				want = append(want, fmt.Sprintf("%d.webp", width))
			}
		}
		if files := slices.Sorted(maps.Keys(got.files)); !slices.Equal(files, want) {
			t.Errorf("got %v, want %v", files, want)
		}
	}
}
