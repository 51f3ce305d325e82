package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
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
		Short: "List or clear the sources that are refused, for they killed the codec twice",
		Long: `A source that twice had the codec process die, or run out of time or memory, is
remembered by its digest, and the same bytes are refused at once. It counts only
for the version of libvips that failed: another one tries again.

The list is a folder of storage.dir with a file a source. Each file appears and
goes as a whole, and the daemon reads it at each upload and remembers nothing,
so both commands may be used while it runs and take effect at once.`,
	}
	c.AddCommand(quarantineListCommand(o), quarantineClearCommand(o))
	return c
}

// quarantine opens the folder without a codec, and so without knowing which
// entries count.
func (o *options) quarantine() (*quarantine.Store, error) {
	c, _, err := config.Load(o.file, o.sets)
	if err != nil {
		return nil, err
	}
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
		Short: "List the sources, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := o.quarantine()
			if err != nil {
				return err
			}
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
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON array, with whole digests")
	return c
}

// shortDigest is how many digits the table has, and leastDigest how many clear
// wants: to name a source, not to hide one.
const shortDigest, leastDigest = 12, 8

func printQuarantine(out io.Writer, entries []quarantine.Entry) error {
	if len(entries) == 0 {
		_, err := fmt.Fprintln(out, "no source is in quarantine")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SHA256\tAT\tLIBVIPS\tBYTES\tFILE\tREASON")
	for _, e := range entries {
		file, bytes, reason, libvips := "-", "-", e.Reason, e.Libvips
		if e.Filename != "" {
			file = strconv.Quote(e.Filename) // as somebody called it: it must not steer the terminal
		}
		if e.Unreadable != "" {
			libvips, reason = "-", "unreadable, does not count: "+e.Unreadable
		} else {
			bytes = humanize.IBytes(uint64(e.Bytes))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.SHA256[:shortDigest], e.At.Format("2006-01-02 15:04"), libvips, bytes, file, oneLine(reason))
	}
	return w.Flush()
}

// oneLine leaves out what would break the table.
func oneLine(s string) string {
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func quarantineClearCommand(o *options) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "clear {SHA256… | --all}",
		Short: "Let sources be tried again",
		Long: `Remove sources from the quarantine, so that they are tried again when they are
sent again. A digest may be cut, as list shows it, to no fewer than 8 digits.`,
		Example: `  optimizerd quarantine clear 3f786850e387
  optimizerd quarantine clear --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("name the sources to clear as list shows them, or clear every one with --all")
			}
			store, err := o.quarantine()
			if err != nil {
				return err
			}
			digests, err := findDigests(store, args)
			if err != nil {
				return err
			}
			n, err := store.Clear(digests...)
			fmt.Fprintln(cmd.OutOrStdout(), "cleared:", n)
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "clear every source")
	return c
}

// findDigests returns the whole digests; nothing is to be cleared if one is
// not there.
func findDigests(store *quarantine.Store, beginnings []string) ([]string, error) {
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
			return nil, fmt.Errorf("%.80q is too short: at least %d digits", beginning, leastDigest)
		case len(found) == 0:
			return nil, fmt.Errorf("%.80q is not in quarantine; nothing was cleared", beginning)
		case len(found) > 1:
			return nil, fmt.Errorf("%.80q begins %d digests; nothing was cleared", beginning, len(found))
		}
		digests = append(digests, found[0])
	}
	return digests, nil
}
