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

// named lists the files of tasks.
func named(tasks []*task) string {
	var files []string
	for _, t := range tasks {
		files = append(files, ladder.Variant{Width: t.rung.size.Width, Format: t.encoder.Format}.Name())
	}
	return strings.Join(files, " ")
}

// order takes tasks as one worker does, and delivers each rung whose files are all
// done; at some rungs WebP is no smaller. It returns the tasks in their order.
func order(w *work, omittedAt ...int) (done, skipped []*task) {
	tasks, batches := w.tasks()
	s := w.schedule(slices.Clone(tasks), batches)
	for t := s.next(); t != nil; t = s.next() {
		done = append(done, t)
		if !t.batch.add(t.encoder.Format, nil) {
			continue
		}
		if slices.Contains(omittedAt, t.rung.size.Width) {
			t.batch.notSmaller = []ladder.Format{ladder.WebP}
		}
		skipped = append(skipped, s.delivered(t.batch)...)
	}
	return done, skipped
}

func TestScheduleLetsTheSmallestRungAndThenTheLargestDecide(t *testing.T) {
	first := "800.jpg 100.webp 100.jpg "
	for _, test := range []struct {
		name          string
		omittedAt     []int
		done, skipped string
	}{
		{"no doubt", nil, first + "800.webp 400.webp 400.jpg 200.webp 200.jpg", ""},
		{"no doubt, since the smallest decides first", []int{800}, first + "800.webp 400.webp 400.jpg 200.webp 200.jpg", ""},
		{"doubt that the largest ends", []int{100}, first + "800.webp 400.webp 400.jpg 200.webp 200.jpg", ""},
		{"doubt that the largest confirms", []int{100, 800}, first + "800.webp 400.jpg 200.jpg", "400.webp 200.webp"},
	} {
		t.Run(test.name, func(t *testing.T) {
			done, skipped := order(unencoded(800, 400, 200, 100), test.omittedAt...)
			if got := named(done); got != test.done {
				t.Errorf("done are %q, want %q", got, test.done)
			}
			if got := named(skipped); got != test.skipped {
				t.Errorf("skipped are %q, want %q", got, test.skipped)
			}
		})
	}
}

// While the smallest rung is not delivered, other threads encode what is never in
// doubt, the most expensive first.
func TestScheduleKeepsOtherThreadsBusyWhileARungDecides(t *testing.T) {
	w := unencoded(800, 400, 200, 100)
	s := w.schedule(w.tasks())
	var taken []*task
	for range 5 {
		taken = append(taken, s.next())
	}
	if got, want := named(taken), "800.jpg 100.webp 100.jpg 400.jpg 200.jpg"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	next := make(chan *task)
	go func() { next <- s.next() }() // waits for the decision, or comes after it
	smallest := taken[1].batch
	s.delivered(smallest)
	if got := named([]*task{<-next}); got != "800.webp" {
		t.Errorf("after the decision: got %q, want 800.webp", got)
	}
}

func TestScheduleThatIsStoppedHasNoMoreTasks(t *testing.T) {
	w := unencoded(800, 400, 200, 100)
	s := w.schedule(w.tasks())
	for range 5 {
		s.next()
	}
	next := make(chan *task)
	go func() { next <- s.next() }()
	s.stop()
	if got := <-next; got != nil {
		t.Errorf("a worker that waits gets %q", named([]*task{got}))
	}
}

func TestScheduleOfOtherWorkIsTheMostExpensiveFirst(t *testing.T) {
	for name, w := range map[string]*work{
		"an animation":     {animated: true, ladder: true},
		"a single variant": {},
	} {
		t.Run(name, func(t *testing.T) {
			all := unencoded(800, 400, 100)
			w.cascade, w.encoders = all.cascade, all.encoders
			done, _ := order(w, 100, 800)
			if got, want := named(done), "800.webp 800.jpg 400.webp 400.jpg 100.webp 100.jpg"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	done, _ := order(unencoded(800, 100), 100, 800)
	if got, want := named(done), "800.webp 800.jpg 100.webp 100.jpg"; got != want {
		t.Errorf("two rungs: got %q, want %q", got, want)
	}
}

func TestFormatIsInDoubtOnlyIfBothOmitIt(t *testing.T) {
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
