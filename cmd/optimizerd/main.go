// Command optimizerd turns uploads into ladders of responsive images.
//
// Each command has its own file. The program is pure Go because it faces
// the network; optimizerd-codec decodes the images.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/config"
)

func main() {
	// The first signal stops in order; a second signal kills the process (Go's default).
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	c, out := root(&options{defaultFile: config.DefaultFile}), &output{File: os.Stdout}
	c.SetOut(out)
	err := c.ExecuteContext(ctx)
	if err == nil || errors.Is(err, errReported) {
		err = cmp.Or(out.err, err)
	}
	os.Exit(exitStatus(err, os.Stderr))
}

// output is standard output. It remembers the first error, for commands that do not look
// at each: a full disk must not go unnoticed.
type output struct {
	*os.File

	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.File.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// canDraw reports whether a writer is a terminal that can erase what is on it.
func canDraw(w any) bool { return isTerminal(w) && os.Getenv("TERM") != "dumb" }

// isTerminal reports whether a writer is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

var (
	errReported    = errors.New("failures were reported")
	errInterrupted = errors.New("interrupted")
)

// exitStatus prints an error, each of its lines on its own, and returns the
// status to exit with.
func exitStatus(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		for line := range strings.Lines(err.Error()) {
			if line = strings.TrimRight(line, "\n"); line != "" {
				fmt.Fprintln(stderr, "optimizerd:", line)
			}
		}
	}
	if errors.Is(err, errInterrupted) {
		return 130
	}
	return 1
}

func root(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "optimizerd",
		Short: "A self-hosted image optimizer: an image in, a ladder of responsive images out",
		Long: `optimizerd makes a fixed ladder of widths in WebP and progressive JPEG (and
optional AVIF) from each image that it receives, strips GPS and all other
metadata, and describes the result in a manifest.`,
		Version:           buildinfo.Version(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
	}
	c.SetVersionTemplate("optimizerd {{.Version}}\n")
	c.SetHelpTemplate(c.HelpTemplate() + "\n" + notes)
	o.addFlags(c)
	serve := serveCommand(o)
	for _, command := range []*cobra.Command{
		optimizeCommand(o), checkCommand(o), doctorCommand(o), benchCommand(o), healthCommand(o), quarantineCommand(o), statusCommand(o), tunnelCommand(o), moveCommand(o), rebuildCommand(o), backupCommand(o), restoreCommand(o), regenerateCommand(o), jobsCommand(o), webhooksCommand(o), fleetCommand(o), imagesCommand(o), verifyCommand(o), versionCommand(o), uploadCommand(), watchCommand(), importCommand(o),
	} {
		interruptible(command)
		c.AddCommand(command)
	}
	c.AddCommand(serve) // stops in order at a signal, so its error is a real one
	c.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; '%s --help' lists the flags", err, cmd.CommandPath())
	})
	c.InitDefaultCompletionCmd()
	refuseUnknown(c)
	explainArgs(c)
	return c
}

// refuseUnknown makes the groups of commands below a command fail for one that they do not
// have, as the program does. By themselves they would print their help and succeed. A
// command that does something itself checks its own arguments.
func refuseUnknown(c *cobra.Command) {
	for _, group := range c.Commands() {
		refuseUnknown(group)
		if !group.HasSubCommands() || group.Runnable() {
			continue
		}
		group.Args, group.DisableFlagsInUseLine = cobra.ArbitraryArgs, true
		group.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return fmt.Errorf("unknown command %q for %q; '%[2]s --help' lists them", args[0], cmd.CommandPath())
		}
	}
}

// explainArgs makes a command and those below it show their usage when their number of
// arguments is wrong.
func explainArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fmt.Errorf("%w; usage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		explainArgs(below)
	}
}

// interruptible makes a command and those below it return errInterrupted when a
// signal made them fail.
func interruptible(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if err != nil && cmd.Context().Err() != nil && !errors.Is(err, errInterrupted) {
				return errInterrupted
			}
			return err
		}
	}
	for _, below := range c.Commands() {
		interruptible(below)
	}
}
