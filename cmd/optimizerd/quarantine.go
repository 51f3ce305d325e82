package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
)

func quarantineCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "quarantine",
		Short: "List or clear quarantined images (they crashed the codec twice)",
		Long: `An image that crashed the codec process twice, or twice exceeded its time or
memory, is quarantined by its digest: the same bytes are refused at once. An entry
applies only to the version of libvips that failed.

The quarantine is a directory in storage.dir with one file per image. The daemon
reads it at each upload, so both commands can be used while it runs and take
effect at once. A fleet has its quarantine in NATS, which both commands then use.`,
	}
	c.AddCommand(quarantineListCommand(o), quarantineClearCommand(o))
	return c
}

// quarantined is the quarantine of this machine or of a fleet.
type quarantined interface {
	List() ([]quarantine.Entry, error)
	Clear(sha256s ...string) (int, error)
}

// quarantine opens the quarantine of the configuration.
func (o *options) quarantine(cmd *cobra.Command) (store quarantined, closeIt func() error, err error) {
	c, log, err := o.loadWithLog(cmd)
	if err != nil {
		return nil, nil, err
	}
	if c.Fleet.Enabled() {
		f, err := attachFleet(cmd, c, log)
		if err != nil {
			return nil, nil, err
		}
		return f.NewQuarantine(""), f.Close, nil
	}
	store, err = openQuarantine(c)
	return store, func() error { return nil }, err
}

// openQuarantine needs no codec, and so does not know which entries apply.
func openQuarantine(c config.Config) (*quarantine.Store, error) {
	store, err := quarantine.Open(filepath.Join(c.Storage.Dir, quarantine.Folder), "")
	if err != nil {
		return nil, fmt.Errorf("storage.dir: %w", err)
	}
	return store, nil
}

func quarantineListCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the images, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			store, closeIt, err := o.quarantine(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeIt()) }()
			entries, err := store.List()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(entries)
			}
			return printQuarantine(cmd.OutOrStdout(), entries)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON array with complete digests")
	return c
}

// The table shows shortDigest digits of a digest; clear requires leastDigest.
const shortDigest, leastDigest = 12, 8

func printQuarantine(out io.Writer, entries []quarantine.Entry) error {
	if len(entries) == 0 {
		_, err := fmt.Fprintln(out, "no image is in quarantine")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SHA256\tAT\tLIBVIPS\tBYTES\tFILE\tREASON")
	for _, e := range entries {
		file, bytes, reason, libvips := "-", "-", e.Reason, e.Libvips
		if e.Filename != "" {
			file = strconv.Quote(e.Filename) // the client chose it; it must not control the terminal
		}
		if e.Unreadable != "" {
			libvips, reason = "-", "unreadable, not applied: "+e.Unreadable
		} else {
			bytes = humanize.IBytes(uint64(e.Bytes))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.SHA256[:shortDigest], e.At.Format("2006-01-02 15:04"), libvips, bytes, file, printable(reason))
	}
	return w.Flush()
}

func quarantineClearCommand(o *options) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "clear {SHA256… | --all}",
		Short: "Clear images, so that they are retried",
		Long: `Remove images from the quarantine, so that the next upload of each is tried again.
A digest can be shortened to 8 digits or more; list shows 12.`,
		Example: `  sudo -u optimizerd optimizerd quarantine clear 3f786850e387
  sudo -u optimizerd optimizerd quarantine clear --all`,
		ValidArgsFunction: o.completeDigest,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if all == (len(args) > 0) {
				return errors.New("name the digests to clear as 'quarantine list' shows them, or use --all")
			}
			store, closeIt, err := o.quarantine(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeIt()) }()
			digests, err := findDigests(store, args)
			if err != nil {
				return err
			}
			n, err := store.Clear(digests...)
			fmt.Fprintln(cmd.OutOrStdout(), "cleared:", n)
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "clear every image")
	return c
}

// findDigests returns the complete digests, or an error if one is not found.
func findDigests(store quarantined, beginnings []string) ([]string, error) {
	entries, err := store.List()
	if err != nil {
		return nil, err
	}
	var digests []string
	for _, beginning := range beginnings {
		var found []string
		for _, e := range entries {
			if strings.HasPrefix(e.SHA256, strings.ToLower(beginning)) {
				found = append(found, e.SHA256)
			}
		}
		switch {
		case len(beginning) < leastDigest:
			return nil, fmt.Errorf("%.80q is too short; use at least %d digits", beginning, leastDigest)
		case len(found) == 0:
			return nil, fmt.Errorf("%.80q is not in quarantine; nothing was cleared", beginning)
		case len(found) > 1:
			return nil, fmt.Errorf("%.80q matches %d digests; nothing was cleared", beginning, len(found))
		}
		digests = append(digests, found[0])
	}
	return digests, nil
}

// completeDigest completes the digests that are in quarantine.
func (o *options) completeDigest(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	file, _ := o.configFile()
	c, err := config.Load(file, o.sets)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	store, err := openQuarantine(c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	entries, err := store.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var found []cobra.Completion
	for _, e := range entries {
		if strings.HasPrefix(e.SHA256, typed) && !slices.Contains(args, e.SHA256) {
			found = append(found, cobra.CompletionWithDesc(e.SHA256, e.At.Format("2006-01-02 15:04")+" "+printable(e.Filename)))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
