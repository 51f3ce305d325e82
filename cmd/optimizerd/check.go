package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
)

func checkCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and exit",
		Long:  "Check the settings as serve would read them, and that the codec is there. Nothing is started or written.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, warnings, err := config.Load(o.file, o.sets)
			if err != nil {
				return err
			}
			if err := c.Servable(); err != nil {
				return err
			}
			path, err := codec.Find(c.Codec.Path)
			if err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `the configuration is valid
  listens on  %s, tokens: %d
  keeps       %s
  ladder      %v in %v, recipe %s
  codec       %s
`, c.HTTP.Listen, len(c.Auth.Tokens), c.Storage.Dir, c.Ladder.Widths, c.Ladder.Formats, c.Ladder.Recipe().ShortFingerprint(), path)
			return err
		},
	}
}
