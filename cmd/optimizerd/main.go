// Command optimizerd turns uploads into ladders of responsive images.
//
// Each command is a page of its own in this folder. The program is pure Go: it
// faces the network, and what decodes pictures is optimizerd-codec's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon"
)

func main() {
	// The first signal stops in order; the second ends the process, as ever.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := root().ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errTold) {
			fmt.Fprintln(os.Stderr, "optimizerd:", err)
		}
		os.Exit(1)
	}
}

// errTold is a failure that the user has been told of already.
var errTold = errors.New("some files failed")

// options are the flags of every command that reads the configuration.
type options struct {
	file string
	sets []string
}

func root() *cobra.Command {
	o := new(options)
	c := &cobra.Command{
		Use:   "optimizerd",
		Short: "A self-hosted image optimizer: a picture in, a ladder of responsive images out",
		Long: `optimizerd makes a fixed ladder of widths in WebP and progressive JPEG (AVIF on
wish) from each picture that is sent to it, strips GPS and all other metadata,
and describes the result in a manifest.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.PersistentFlags().StringVarP(&o.file, "config", "c", "", "YAML `file` with settings; config.example.yaml documents them all")
	c.PersistentFlags().StringArrayVar(&o.sets, "set", nil, "one setting, such as http.listen=127.0.0.1:8080; wins over file and environment")
	c.AddCommand(serveCommand(o), optimizeCommand(o), checkCommand(o), doctorCommand(o), benchCommand(o), healthCommand(o), quarantineCommand(o), tunnelCommand(o), versionCommand(o))
	return c
}

// load reads the configuration and makes the log that it asks for. What is
// odd about the configuration is the log's first lines.
func (o *options) load() (config.Config, *zap.Logger, error) {
	c, warnings, err := config.Load(o.file, o.sets)
	if err != nil {
		return c, nil, err
	}
	log, err := daemon.NewLogger(c.Log, os.Stderr)
	if err != nil {
		return c, nil, err
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	return c, log, nil
}
