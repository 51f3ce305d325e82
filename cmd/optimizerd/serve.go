package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon"
	"github.com/optimizerd/optimizerd/pkg/doctor"
)

func serveCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon until SIGTERM or Ctrl-C. Once it listens, it prints one line on
standard output; the log goes to standard error.

Without any setting it listens on loopback only and keeps its data in the state
directory of systemd or of the user.`,
		Example: `  optimizerd serve --config /etc/optimizerd/config.yaml
  optimizerd serve --set http.listen=127.0.0.1:0 --set storage.dir=/tmp/images
  curl --data-binary @cat.jpg http://127.0.0.1:8080/v1/images`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file := o.chosenFile(cmd)
			c, err := config.LoadServable(file, o.sets)
			if err != nil {
				return err
			}
			log, err := daemon.NewLogger(c.Log, os.Stderr)
			if err != nil {
				return err
			}
			logConfiguration(log, file, c)
			d, err := daemon.New(cmd.Context(), c, log)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "listening", d.URL())
			return d.Run(cmd.Context())
		},
	}
}

// logConfiguration writes the first lines of the log: where the settings come
// from, and what about them the operator should know.
func logConfiguration(log *zap.Logger, file string, c config.Config) {
	if file == "" {
		log.Info("no configuration file: defaults, environment and --set", zap.String("storage", c.Storage.Dir), zap.String("listen", c.HTTP.Listen))
	} else {
		log.Info("configuration file", zap.String("file", file))
	}
	if len(c.Auth.Tokens) == 0 {
		log.Warn("no token is set: every program on this machine can use the API")
	}
	if f := doctor.MemoryCgroup("/"); f.Status != doctor.OK {
		log.Warn(f.Found, zap.String("advice", f.Advice))
	}
}
