package render_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/durable/diskspace"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/render"
)

// sized is an engine that makes files of these sizes in bytes, one after the other.
type sized []int64

func (e sized) Render(_ context.Context, _ *os.File, recipe ladder.Recipe, _ ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	if err := sink.Opened(ladder.Source{Format: "png", Width: 64, Height: 64, Frames: 1}); err != nil {
		return ladder.Summary{}, err
	}
	for i, v := range recipe.Plan(64, 64).Variants {
		v.Bytes = e[i]
		if err := sink.Variant(v, io.LimitReader(zeros{}, v.Bytes)); err != nil {
			return ladder.Summary{}, err
		}
	}
	return ladder.Summary{}, nil
}

// zeros is an endless file of zeros.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// open returns a store and an empty source, until the end of the test.
func open(t *testing.T, config publish.Config) (*publish.Store, *os.File) {
	t.Helper()
	store, err := publish.Open(config, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // it is deleted next
	src, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() }) // nothing was written
	return store, src
}

func TestOutputLeavesTheReserveFree(t *testing.T) {
	const tooMuch = 1 << 60 // for any disk
	for _, tc := range []struct {
		name    string
		minFree int64
		files   sized
		code    fault.Code
	}{
		{"space for all files", 1, sized{1000, 1000}, ""},
		{"no space for the second file", 1, sized{1000, tooMuch}, fault.InsufficientStorage},
		{"less free than the reserve", tooMuch, sized{1000, 1000}, fault.InsufficientStorage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			store, src := open(t, publish.Config{Dir: dir, Room: diskspace.Reserve{Dir: dir, MinFree: tc.minFree}.Check})
			r := render.Renderer{Engine: tc.files, Sets: store, Log: zap.NewNop()}
			id := strings.Repeat("a", 26)
			if _, _, err := r.Render(t.Context(), src, job.Job{Recipe: ladder.DefaultConfig().Recipe(), ImageID: id}); fault.CodeOf(err) != tc.code {
				t.Errorf("got %v, want %q", err, tc.code)
			}
			if store.Has(id) != (tc.code == "") {
				t.Errorf("the set is published: %v", store.Has(id))
			}
			if staged, err := os.ReadDir(filepath.Join(dir, ".staging")); err != nil || len(staged) > 0 {
				t.Errorf("staged are %v (%v)", staged, err)
			}
		})
	}
}

// fatal is an engine that crashes the codec.
type fatal struct{ runs int }

func (f *fatal) Render(context.Context, *os.File, ladder.Recipe, ladder.Limits, ladder.Sink) (ladder.Summary, error) {
	f.runs++
	return ladder.Summary{}, &codec.Crash{Reason: "killed"}
}

// tally is a count of crashes that other machines have, too.
type tally struct {
	n        int
	err      error
	survived bool
}

func (t *tally) Before(string) int { return t.n }

func (t *tally) Crashed(string, string) (int, error) {
	t.n++
	return t.n, t.err
}

func (t *tally) Survived(string) error {
	t.survived = true
	return t.err
}

func TestCrashesOnOtherMachinesCount(t *testing.T) {
	store, src := open(t, publish.Config{Dir: t.TempDir()})
	j := job.Job{Recipe: ladder.DefaultConfig().Recipe(), ImageID: strings.Repeat("a", 26)}
	for name, c := range map[string]struct {
		crashes     render.Crashes
		both, alone int // runs of the engine, and in isolation
	}{
		"a machine alone":         {nil, 1, 1},
		"the first in the fleet":  {new(tally), 1, 1},
		"one elsewhere before":    {&tally{n: 1}, 0, 1},
		"one elsewhere meanwhile": {&meanwhile{}, 1, 0},
		"they cannot be recorded": {&tally{err: os.ErrDeadlineExceeded}, 1, 1},
	} {
		first, second := new(fatal), new(fatal)
		r := render.Renderer{Engine: first, LastResort: second, Sets: store, Log: zap.NewNop(), Crashes: c.crashes}
		if _, _, err := r.Render(t.Context(), src, j); fault.CodeOf(err) != fault.ProcessingFailed || first.runs != c.both || second.runs != c.alone {
			t.Errorf("%s: %v after %d runs, and %d in isolation; want %d and %d", name, err, first.runs, second.runs, c.both, c.alone)
		}
	}
	once := &tally{n: 1}
	r := render.Renderer{Engine: new(fatal), LastResort: sized{1000, 1000}, Sets: store, Log: zap.NewNop(), Crashes: once}
	if _, _, err := r.Render(t.Context(), src, j); err != nil || !once.survived {
		t.Errorf("in isolation: %v, its crash is forgotten: %v", err, once.survived)
	}
}

func TestJobInTheBackgroundHasItsOwnEngine(t *testing.T) {
	store, src := open(t, publish.Config{Dir: t.TempDir()})
	for _, background := range []bool{false, true} {
		ordinary, yielding := new(fatal), new(fatal)
		r := render.Renderer{Engine: ordinary, Background: yielding, LastResort: new(fatal), Sets: store, Log: zap.NewNop()}
		j := job.Job{Recipe: ladder.DefaultConfig().Recipe(), ImageID: strings.Repeat("a", 26), Background: background}
		if _, _, err := r.Render(t.Context(), src, j); fault.CodeOf(err) != fault.ProcessingFailed {
			t.Fatal(err)
		}
		if (yielding.runs == 1) != background || ordinary.runs+yielding.runs != 1 {
			t.Errorf("background %v: %d runs of the ordinary engine, %d of the one that yields", background, ordinary.runs, yielding.runs)
		}
	}
}

// meanwhile counts a crash on another machine during each one here.
type meanwhile struct{ tally }

func (m *meanwhile) Crashed(sha256, reason string) (int, error) {
	m.n++
	return m.tally.Crashed(sha256, reason)
}

func TestSetIsNeverDatedBeforeTheProgram(t *testing.T) {
	w := newWorld(t)
	built := time.Now().Add(time.Hour).Truncate(time.Millisecond) // as if the clock were behind
	w.notBefore = built
	if m := w.upload(ladderOf(16), job.Job{}); !m.CreatedAt.Equal(built) {
		t.Errorf("it is dated %v, want %v", m.CreatedAt, built)
	}
}
