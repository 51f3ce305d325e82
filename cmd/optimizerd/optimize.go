package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/render"
)

func optimizeCommand(o *options) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "optimize [-o DIR] FILES…",
		Short: "Make the ladders of files, without a server",
		Long: `Make the ladder of each file in DIR/<id>/, with its manifest. Folders are
walked; what is no picture in them is passed over. A set that is there already
is not made again. One bad file does not stop the rest; the exit status tells.

On a terminal there is a progress bar, else one line of JSON for each file.`,
		Example: `  optimizerd optimize -o public/images photos/
  optimizerd optimize --set ladder.formats=webp,jpeg,avif cat.jpg | jq .id`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.optimize(cmd.Context(), out, args)
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "optimized", "`folder` for the sets")
	return c
}

// outcome is what became of one file, and its line of JSON.
type outcome struct {
	File     string       `json:"file"`
	Status   string       `json:"status"` // made, there, skipped or failed
	ID       string       `json:"id,omitempty"`
	Variants int          `json:"variants,omitempty"`
	BytesIn  int64        `json:"bytes_in,omitempty"`
	BytesOut int64        `json:"bytes_out,omitempty"`
	Error    *outcomeFail `json:"error,omitempty"`
}

type outcomeFail struct {
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
}

func (o *options) optimize(ctx context.Context, out string, args []string) error {
	c, log, err := o.load()
	if err != nil {
		return err
	}
	files, err := findFiles(args)
	if err != nil {
		return err
	}
	log = log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)) // each file's outcome is printed instead
	pool, err := codec.NewPool(ctx, c.CodecConfig(), log)
	if err != nil {
		return err
	}
	defer pool.Close()
	if about := pool.About(); slices.ContainsFunc(c.Ladder.Formats, func(f ladder.Format) bool { return !slices.Contains(about.Outputs, f) }) {
		return fmt.Errorf("ladder.formats: %v is wanted, and libvips %s on this machine writes %v", c.Ladder.Formats, about.Libvips, about.Outputs)
	}
	store, err := publish.Open(publish.Config{Dir: out}, log)
	if err != nil {
		return err
	}
	maker := &render.Renderer{Engine: pool, LastResort: pool.Alone(), Store: store, Limits: c.LadderLimits(), Log: log, KeepTimings: c.Storage.KeepTimings}
	report := newReport(os.Stdout, len(files))
	var group errgroup.Group
	group.SetLimit(pool.Size())
	for _, f := range files {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			report.add(makeFile(ctx, maker, f, c.Ladder.Recipe(), c.Limits.MaxBytes))
			return nil
		})
	}
	_ = group.Wait() // the outcomes are in the report
	return errors.Join(report.end(), ctx.Err(), store.Close())
}

// found is a file to work on.
type found struct {
	path   string
	walked bool // found in a folder, so it may be no picture
}

// findFiles walks the arguments that are folders.
func findFiles(args []string) ([]found, error) {
	var files []found
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil || !info.IsDir() {
			files = append(files, found{path: arg}) // that it is not there is told when its turn comes
			continue
		}
		err = filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files = append(files, found{path, true})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

func makeFile(ctx context.Context, m *render.Renderer, f found, recipe ladder.Recipe, maxBytes int64) outcome {
	made, set, err := m.File(ctx, f.path, recipe, maxBytes)
	switch {
	case err != nil && f.walked && fault.CodeOf(err) == fault.UnsupportedFormat:
		return outcome{File: f.path, Status: "skipped"}
	case err != nil:
		e := fault.From(err)
		return outcome{File: f.path, Status: "failed", Error: &outcomeFail{e.Code, e.Detail}}
	}
	result := outcome{File: f.path, Status: "there", ID: set.ID, Variants: len(set.Variants), BytesIn: set.Source.Bytes}
	if made {
		result.Status = "made"
	}
	for _, v := range set.Variants {
		result.BytesOut += v.Bytes
	}
	return result
}

// report prints outcomes as they come: for a person, or for a program.
type report struct {
	mu     sync.Mutex
	lines  *json.Encoder
	bar    *progressbar.ProgressBar // nil when nobody looks
	counts map[string]int
	in     int64
	out    int64
	err    error // of writing
}

func newReport(w io.Writer, files int) *report {
	r := &report{lines: json.NewEncoder(w), counts: make(map[string]int)}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		r.bar = progressbar.NewOptions(files, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowCount(),
			progressbar.OptionSetDescription("optimizing"), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	}
	return r
}

func (r *report) add(o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[o.Status]++
	r.in += o.BytesIn
	r.out += o.BytesOut
	if r.bar == nil {
		r.err = errors.Join(r.err, r.lines.Encode(o))
		return
	}
	if o.Error != nil {
		r.err = errors.Join(r.err, r.bar.Clear())
		fmt.Fprintf(os.Stderr, "%s: %s\n", o.File, o.Error.Message)
	}
	r.err = errors.Join(r.err, r.bar.Add(1))
}

// end prints the sum for a person, and reports whether a file failed.
func (r *report) end() error {
	if r.bar != nil {
		fmt.Fprintf(os.Stderr, "%d made, %d there already, %d failed, %d skipped: %s in, %s out\n", r.counts["made"], r.counts["there"],
			r.counts["failed"], r.counts["skipped"], humanize.Bytes(uint64(r.in)), humanize.Bytes(uint64(r.out)))
	}
	if r.err == nil && r.counts["failed"] > 0 {
		return errTold
	}
	return r.err
}
