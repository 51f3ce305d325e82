package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/daemon"
	"github.com/optimizerd/optimizerd/pkg/doctor"
)

func serveCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon until SIGTERM or Ctrl-C. It prints one line on standard output
when it listens; the log goes to standard error.

Without any setting it listens on loopback alone and keeps its data in the
state folder of systemd or of the user.`,
		Example: `  optimizerd serve --config /etc/optimizerd/config.yaml
  optimizerd serve --set http.listen=127.0.0.1:0 --set storage.dir=/tmp/images
  curl --data-binary @cat.jpg http://127.0.0.1:8080/v1/images`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := o.load()
			if err != nil {
				return err
			}
			if o.file == "" {
				log.Info("no --config file: defaults, environment and --set", zap.String("storage", c.Storage.Dir), zap.String("listen", c.HTTP.Listen))
			}
			if len(c.Auth.Tokens) == 0 {
				log.Warn("no token is set: every program on this machine can use the API, and nobody else can")
			}
			if f := doctor.MemoryCgroup(doctor.Options{}); f.Status != doctor.OK {
				log.Warn(f.Found, zap.String("advice", f.Advice))
			}
			d, err := daemon.New(cmd.Context(), c, log)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "listening", d.URL())
			return d.Run(cmd.Context())
		},
	}
}
