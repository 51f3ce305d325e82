package main

import (
	"encoding/json"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/doctor"
	"github.com/optimizerd/optimizerd/pkg/fleet"
)

func doctorCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Diagnose this machine and suggest fixes",
		Long: `Check the configuration, the codec and its sandbox, memory, the data folder,
the clock and the network, and suggest a fix for each problem.

Each line is ok, warn or fail. The exit status is 1 if a check failed; warnings
do not change it. --json prints both.

It can run alongside the daemon, preferably as the same user. It starts one codec process,
opens the port briefly to see whether it is free, and writes and deletes one file
in the data folder and one object in the bucket of storage.s3. It changes nothing else.`,
		Example: `  optimizerd doctor --config /etc/optimizerd/config.yaml
  optimizerd doctor --json | jq '.findings[] | select(.status != "ok")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			report := doctor.Examine(doctor.Gather(cmd.Context(), o.doctorConfiguration(cmd), "/"))
			err := cmd.Context().Err()
			if err != nil {
				return err // what was cut short would look like a failure
			}
			if asJSON {
				err = json.NewEncoder(out).Encode(report)
			} else {
				err = report.Print(out, screen(out))
			}
			if err == nil && report.Status == doctor.Fail {
				return errReported
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// doctorConfiguration reads the configuration for doctor, which also examines a
// machine whose configuration is not valid.
func (o *options) doctorConfiguration(cmd *cobra.Command) doctor.Configuration {
	file := o.chosenFile(cmd)
	c, err := config.Load(file, o.sets)
	if err != nil {
		return doctor.Configuration{File: file, Problem: err}
	}
	var options *fleet.Options
	if c.Fleet.Enabled() {
		o := c.FleetOptions()
		options = &o
	}
	return doctor.Configuration{File: file, Settings: &doctor.Settings{
		Listen:       c.HTTP.Listen,
		AdminListen:  c.Admin.Listen,
		Tokens:       c.TokenStrings(),
		Webhooks:     len(c.Webhook.Secrets) > 0,
		AllowPrivate: c.Fetch.AllowPrivate,
		AllowHosts:   c.Fetch.AllowHosts,
		DataDir:      c.Storage.Dir,
		MinFree:      c.Storage.MinFree,
		MaxMemory:    c.Limits.MaxMemory,
		DaemonMemory: config.DaemonMemory,
		Formats:      c.Ladder.Formats,
		Unmade:       c.Ladder.Unmade(),
		Codec:        c.CodecConfig(),
		Tunnel:       c.Tunnel.Config,
		Store:        objectStore(c.Storage),
		Fleet:        options,
		FleetStore:   fleet.StoreName(c.Storage.S3.Endpoint, c.Storage.S3.Bucket),
		NotServable:  c.Servable(),
	}}
}

// objectStore returns the object store to probe, or nil.
func objectStore(c config.Storage) *doctor.Store {
	if !c.S3.Enabled() || c.S3Key == nil {
		return nil
	}
	return &doctor.Store{Config: c.S3, Key: *c.S3Key, KeepOriginals: c.KeepOriginals}
}

// screen returns the style for the report's destination. NO_COLOR disables
// color, as in many programs.
func screen(out any) doctor.Style {
	style := doctor.Style{Width: 100}
	if !isTerminal(out) {
		return style
	}
	f, _ := out.(interface{ Fd() uintptr }) // a terminal is one
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		style.Width = min(width, 120)
	}
	style.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return style
}
