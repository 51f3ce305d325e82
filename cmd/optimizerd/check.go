package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
)

func checkCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and exit",
		Long: `Validate the settings as serve reads them, and check that the codec is installed.
All mistakes are reported, each with its line, key and value, and what is allowed.
Nothing is started or written.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file := o.chosenFile(cmd)
			c, err := config.LoadServable(file, o.sets)
			path, missing := codec.Find(c.Codec.Path)
			if err = errors.Join(err, missing); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `the configuration is valid
  file        %s
  listens on  %s, tokens: %d
  data        %s
  ladder      %v in %v, recipe %s
  codec       %s
`, cmp.Or(file, "none"), c.HTTP.Listen, len(c.Auth.Tokens), c.Storage.Dir, c.Ladder.Widths, c.Ladder.Formats, c.Ladder.Recipe().ShortFingerprint(), path)
			return err
		},
	}
}
