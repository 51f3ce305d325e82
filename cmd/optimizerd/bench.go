package main

import (
	"encoding/json"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/tune"
)

func benchCommand(o *options) *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "bench [FILES…]",
		Short: "Measure this machine and propose settings",
		Long: `Measure how many ladders this machine makes per minute with different numbers of
processes and threads, how much memory a codec process uses, and how much CPU time
each effort of each format costs and how many bytes it saves. Then propose settings.

Name one or two typical images. Without any, bench generates one that takes about as
much time as a 12-megapixel photo. The images go through the codec as in the
daemon, with the configured ladder and limits. The table of efforts ends when an
image takes longer than codec.timeout, or (without --all) ten times as long as
with the lowest effort. No file is written.

This takes minutes on a small machine, longer with AVIF and several images. Stop
the daemon first; otherwise its work is measured too.`,
		Example: `  optimizerd bench --config /etc/optimizerd/config.yaml holiday.jpg
  optimizerd bench --json | jq .proposal`,
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := o.bench(cmd, args, all)
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
	c.Flags().BoolVar(&all, "all", false, "also measure efforts that cost more than ten times the lowest")
	return c
}

func (o *options) bench(cmd *cobra.Command, args []string, all bool) (r tune.Report, err error) {
	c, log, err := o.loadWithLog(cmd)
	if err != nil {
		return r, err
	}
	var files []tune.File
	for _, arg := range args {
		files = append(files, tune.File{Name: arg, Path: arg})
	}
	if len(files) == 0 {
		photo, err := tune.Photo(cmd.Context())
		if err != nil {
			return r, err
		}
		defer func() { _ = photo.Close() }() // it is in memory
		files = append(files, tune.File{Name: "a generated image", Path: photo.Name()})
	}
	options := tune.Options{
		Codec: c.CodecConfig(), Ladder: c.Ladder, Limits: c.LadderLimits(),
		Reserved: tune.Reserved{Daemon: config.DaemonMemory, Child: config.ChildSlack},
		Images:   files, All: all, Log: log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)),
	}
	if canDraw(os.Stderr) {
		bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowCount(),
			progressbar.OptionSetDescription("measuring"), progressbar.OptionClearOnFinish())
		options.Progress = func(done, of int) {
			bar.ChangeMax(of)
			_ = bar.Set(done) // drawing is optional
		}
	}
	return tune.Run(cmd.Context(), options)
}
