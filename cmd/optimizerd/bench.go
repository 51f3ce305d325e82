package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/term"

	"github.com/optimizerd/optimizerd/pkg/bench"
)

func benchCommand(o *options) *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "bench [FILES…]",
		Short: "Measure this machine, and propose settings for it",
		Long: `Measure how many ladders this machine makes in a minute, by itself and with
several processes and threads; what memory a codec process takes for it; and what
each effort of WebP and AVIF costs in processor time and saves in bytes. From
that, settings are proposed.

The pictures are yours, best one or two typical ones, or one that is generated
and costs about what a photo of 12 megapixels costs. They go through the codec as
the daemon's do, with the configuration's ladder and limits; an effort for which
a picture takes longer than codec.timeout ends its table, and so does one that
costs ten times the lowest (but for --all). No file is written.

It takes minutes on a small machine, more with AVIF and several pictures. Stop
the daemon first, or both are measured.`,
		Example: `  optimizerd bench --config /etc/optimizerd/config.yaml holiday.jpg
  optimizerd bench --json | jq .proposal`,
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := o.bench(cmd.Context(), args, all)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			}
			return report.Print(cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "measure efforts too that cost more than ten times the lowest")
	return c
}

func (o *options) bench(ctx context.Context, args []string, all bool) (r bench.Report, err error) {
	c, log, err := o.load()
	if err != nil {
		return r, err
	}
	var files []bench.File
	for _, arg := range args {
		files = append(files, bench.File{Name: arg, Path: arg})
	}
	if len(files) == 0 {
		photo, err := bench.Photo()
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, photo.Close()) }()
		files = append(files, bench.File{Name: "a generated picture", Path: photo.Name()})
	}
	options := bench.Options{Config: c, Images: files, All: all, Log: log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowCount(),
			progressbar.OptionSetDescription("measuring"), progressbar.OptionClearOnFinish())
		options.Progress = func(done, of int) {
			bar.ChangeMax(of)
			_ = bar.Set(done) // a bar that cannot be drawn keeps nobody from measuring
		}
	}
	return bench.Run(ctx, options)
}
