package render_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/render"
)

// watched is an engine that calls before first and returns its error.
type watched struct {
	runs   atomic.Int64
	before func() error
}

func (e *watched) Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error) {
	e.runs.Add(1)
	if err := e.before(); err != nil {
		return ladder.Summary{}, err
	}
	return sized{1000, 1000}.Render(ctx, src, recipe, limits, sink)
}

const gif = "GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

func TestFileThatChangesWhileItIsReadIsRefused(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"it grows": func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				defer f.Close()
				_, err = f.WriteString("more")
			}
			return err
		},
		"it is written again": func(path string) error {
			return os.Chtimes(path, time.Time{}, time.Unix(1e9, 0))
		},
		"it is cut, which the codec calls damage": func(path string) error {
			if err := os.Truncate(path, 1); err != nil {
				return err
			}
			return fault.New(fault.CorruptImage, "The image is damaged.")
		},
		"it is cut, which the codec does not survive": func(path string) error {
			if err := os.Truncate(path, 1); err != nil {
				return err
			}
			return &codec.Crash{Reason: "killed"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.gif")
			if err := os.WriteFile(path, []byte(gif), 0o600); err != nil {
				t.Fatal(err)
			}
			store, _ := open(t, publish.Config{Dir: t.TempDir()})
			e := &watched{before: func() error { return change(path) }}
			r := render.Renderer{Engine: e, LastResort: e, Sets: store, Log: zap.NewNop()}
			_, _, err := r.File(t.Context(), path, ladder.DefaultConfig().Recipe(), 1<<20)
			const want = "The file changed while it was read; try again when it is complete."
			if f := fault.From(err); f == nil || f.Detail != want {
				t.Errorf("got %v, want %q", err, want)
			}
			if n := store.Len(); n != 0 {
				t.Errorf("%d sets are published", n)
			}
		})
	}
}

func TestFilesThatAreEqualAreRenderedOnce(t *testing.T) {
	dir := t.TempDir()
	store, _ := open(t, publish.Config{Dir: t.TempDir()})
	paths := []string{filepath.Join(dir, "a.gif"), filepath.Join(dir, "copy of a.gif")}
	for _, path := range paths {
		if err := os.WriteFile(path, []byte(gif), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		e := &watched{before: func() error { <-gate; return nil }}
		r := render.Renderer{Engine: e, LastResort: e, Sets: store, Log: zap.NewNop()}
		var made atomic.Int64
		var group sync.WaitGroup
		for _, path := range paths {
			group.Go(func() {
				is, set, err := r.File(context.Background(), path, ladder.DefaultConfig().Recipe(), 1<<20)
				if err != nil || len(set.Variants) == 0 {
					t.Errorf("%s: %+v, %v", path, set, err)
				}
				if is {
					made.Add(1)
				}
			})
		}
		synctest.Wait() // both are waited for
		close(gate)
		group.Wait()
		if runs := e.runs.Load(); runs != 1 || made.Load() != 1 {
			t.Errorf("rendered %d times and reported as made %d times, want once", runs, made.Load())
		}
	})
}
