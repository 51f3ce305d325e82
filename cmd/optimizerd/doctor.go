package main

import (
	"encoding/json"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/optimizerd/optimizerd/pkg/doctor"
)

func doctorCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps the daemon from working well, and say what to do",
		Long: `Look at the configuration, the codec and its sandbox, memory, the data folder,
the clock and the network, and say what to do about what is not as it should be.

Each line is ok, warn or fail. The exit status is 1 if one is fail, else 0:
warnings are for people to read, not for scripts to stop at. --json has them.

It may be run beside the daemon, best as its user. It starts one codec process
for its greeting, takes the port for a moment to see whether it is free, and
writes one file into the data folder, which it removes; it changes nothing.`,
		Example: `  optimizerd doctor --config /etc/optimizerd/config.yaml
  optimizerd doctor --json | jq '.findings[] | select(.status != "ok")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			report := doctor.Examine(doctor.Gather(cmd.Context(), doctor.Options{File: o.file, Sets: o.sets}))
			var err error
			if asJSON {
				err = json.NewEncoder(out).Encode(report)
			} else {
				err = report.Print(out, screen(out))
			}
			if err == nil && report.Status == doctor.Fail {
				return errTold
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// screen is the style for where the report goes: NO_COLOR is what many
// programs heed.
func screen(out any) doctor.Style {
	style := doctor.Style{Width: 100}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return style
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		style.Width = min(width, 120)
	}
	style.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return style
}
