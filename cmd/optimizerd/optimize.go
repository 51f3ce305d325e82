package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/render"
)

func optimizeCommand(o *options) *cobra.Command {
	var (
		out    string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "optimize [-o DIR] FILES…",
		Short: "Make ladders from files, without a server",
		Long: `Make the ladder of each file in DIR/<id>/, with its manifest. Directories are
searched for images. A set that already exists is not made again. A bad file does
not stop the others, but the exit status is then 1.

On a terminal each file has a line with its id, and a progress bar shows the file
that was started last. Otherwise each file has one line of JSON, whose "status" is

  made     the set is new
  there    the set existed
  skipped  found in a directory and not an image by name and content, or a
           symlink, device, socket, named pipe or the output directory itself;
           "reason" says which
  failed   "error" says why; a damaged, empty or unreadable file with the name
           of an image is a failure

After Ctrl-C the files in progress are left out: they are neither made nor failed.`,
		Example: `  optimizerd optimize -o public/images photos/
  optimizerd optimize --set ladder.formats=webp,jpeg,avif cat.jpg | jq .id`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, log, err := o.loadWithLog(cmd)
			if err != nil {
				return err
			}
			return optimizeFiles(cmd.Context(), c, log, optimizing{files: args, out: out, asJSON: asJSON})
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "optimized", "`directory` for the sets")
	c.Flags().BoolVar(&asJSON, "json", false, "print lines of JSON even on a terminal")
	return c
}

// optimizing is one call of optimize.
type optimizing struct {
	files  []string
	out    string // directory
	asJSON bool
}

func optimizeFiles(ctx context.Context, c config.Config, log *zap.Logger, what optimizing) error {
	log = log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)) // each file's outcome is printed instead
	pool, err := codec.NewPool(ctx, c.CodecConfig(), log)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := c.Ladder.CheckWritable(pool.About().Outputs); err != nil {
		return err
	}
	store, err := publish.Open(publish.Config{Dir: what.out}, log)
	if err != nil {
		return err
	}
	files, settled := findFiles(what.files, what.out)
	renderer := &render.Renderer{Engine: pool, LastResort: pool.Alone(), Sets: store, Limits: c.LadderLimits(), Log: log, KeepTimings: c.Storage.KeepTimings, KeepTakenAt: c.Storage.KeepTakenAt}
	report := newReport(os.Stdout, os.Stderr, len(files), what.asJSON)
	for _, o := range settled {
		report.add(o)
	}
	recipe := c.Ladder.Recipe()
	err = reportAll(ctx, report, batch[foundFile]{files, "files", pool.Size(), pathOf, func(ctx context.Context, f foundFile) (outcome, bool) {
		o, err := makeFile(ctx, renderer, f, recipe, c.Limits.MaxBytes)
		return outcomeOf(ctx, f.path, o, err)
	}})
	return errors.Join(err, store.Close())
}

// makeFile makes the set of a file.
func makeFile(ctx context.Context, m *render.Renderer, f foundFile, recipe ladder.Recipe, maxBytes int64) (o outcome, err error) {
	made, set, err := m.File(ctx, f.path, recipe, maxBytes)
	if err != nil {
		if f.walked && !hasImageName(f.path) && fault.CodeOf(err) == fault.UnsupportedFormat {
			return outcome{File: f.path, Status: "skipped", Reason: "not an image"}, nil
		}
		return o, err
	}
	o = outcome{File: f.path, Status: "there", ID: set.ID, Variants: len(set.Variants), BytesIn: set.Source.Bytes}
	if made {
		o.Status = "made"
	}
	for _, v := range set.Variants {
		o.BytesOut += v.Bytes
	}
	return o, nil
}

// describe says what an error means to a user of the command line, who has no
// server log and no request id to look for.
func describe(err error) string {
	e := fault.From(err)
	if e.Code != fault.Internal {
		return e.Detail
	}
	if cause := e.Unwrap(); cause != nil {
		return "Internal error: " + cause.Error()
	}
	return "Internal error."
}
