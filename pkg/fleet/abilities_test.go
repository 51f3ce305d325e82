package fleet

import (
	"fmt"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func ordinary() Abilities {
	return Abilities{
		Engine: ladder.EngineVersion, Outputs: []ladder.Format{ladder.WebP, ladder.JPEG}, Off: []string{"read heic", "write avif"},
		MaxBytes: 1000, MaxPixels: 1000, MaxFrames: 10, MaxMemory: 1000,
	}
}

func TestNodeCannotExecute(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*job.Job)
		want   fault.Code
	}{
		"what it can":    {func(*job.Job) {}, ""},
		"a newer engine": {func(j *job.Job) { j.Recipe.Engine++ }, fault.InvalidOptions},
		"an older one":   {func(j *job.Job) { j.Recipe.Engine-- }, ""},
		"a format":       {func(j *job.Job) { j.Recipe = ladder.DefaultConfig().Single(ladder.Box{Width: 20}, ladder.AVIF) }, fault.InvalidOptions},
		"a large source": {func(j *job.Job) { j.Source.Bytes = 1001 }, fault.TooLarge},
	} {
		j := newRecord(t).job
		c.change(&j)
		var got fault.Code
		if cause := ordinary().unable(j); cause != nil {
			got = cause.Code
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestNodesThatMayExecuteWhatAnotherCannot(t *testing.T) {
	all := []fault.Code{fault.TooLarge, fault.TooManyPixels, fault.TooManyFrames, fault.UnsupportedFormat, fault.CorruptImage, fault.ProcessingFailed, fault.Internal}
	for name, c := range map[string]struct {
		change func(*Abilities)
		want   string
	}{
		"an equal one":        {func(*Abilities) {}, "[]"},
		"one that reads more": {func(a *Abilities) { a.Off = []string{"write avif"} }, "[unsupported_format]"},
		"one that reads less": {func(a *Abilities) { a.Off = append(a.Off, "read gif") }, "[]"},
		"larger files":        {func(a *Abilities) { a.MaxBytes++ }, "[too_large]"},
		"larger images":       {func(a *Abilities) { a.MaxPixels++ }, "[too_many_pixels]"},
		"more memory":         {func(a *Abilities) { a.MaxMemory++ }, "[too_many_pixels]"},
		"longer animations":   {func(a *Abilities) { a.MaxFrames++ }, "[too_many_frames]"},
		"lower limits":        {func(a *Abilities) { a.MaxBytes, a.MaxPixels, a.MaxFrames, a.MaxMemory = 1, 1, 1, 1 }, "[]"},
	} {
		a := ordinary()
		c.change(&a)
		may := []fault.Code{}
		for _, code := range all {
			if a.exceeds(ordinary(), code) {
				may = append(may, code)
			}
		}
		if got := fmt.Sprint(may); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestRecordKeepsWhoPassedOnIt(t *testing.T) {
	r := newRecord(t)
	for i := range maxPassed + 2 {
		r.Passed = r.Passed.with(fmt.Sprint("process-", i), fault.New(fault.UnsupportedFormat, "This server cannot read HEIC images."))
	}
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRecord(r.job.ID, b)
	if err != nil || len(got.Passed.Nodes) != maxPassed || got.Passed.by("process-1") || !got.Passed.by(fmt.Sprint("process-", maxPassed+1)) || got.Passed.Code != fault.UnsupportedFormat {
		t.Errorf("got %+v, %v", got.Passed, err)
	}
	if new(record).Passed.by("process-1") {
		t.Error("a record of an earlier version lists a process that passed on it")
	}
}

// What passes, or fails everywhere, is no reason to leave a job to another node, not
// even while nobody knows what the others can do: the reason would become the job's
// end.
func TestJobIsNotPassedOnIfNoNodeCanDoBetter(t *testing.T) {
	f := new(Fleet) // without servers
	about := ordinary()
	f.about.Store(&about)
	q := &Queue{f: f}
	for _, code := range []fault.Code{fault.Unavailable, fault.InsufficientStorage, fault.CorruptImage, fault.ProcessingFailed, fault.Internal} {
		if able, known := q.abler(newRecord(t).job, nil, code); len(able) > 0 || !known {
			t.Errorf("%s: a job that failed so may be passed on", code)
		}
	}
}
