package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/buildinfo"
	"github.com/optimizerd/optimizerd/pkg/config"
)

func backupCommand(o *options) *cobra.Command {
	var (
		at     bucketFlags
		keep   int
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "backup {DIR | s3://BUCKET/PREFIX}",
		Short: "Copy the data folder while the daemon runs",
		Long: `Copy storage.dir to a directory or a bucket: image sets, originals, the queue with
the sources of its jobs and of failed uploads, webhooks, quarantine and keys. The daemon
may run; what it accepts meanwhile is entirely in this backup or in the next one.

Each run makes an incremental snapshot: only files whose digest the backup does not have
yet are copied. It can be interrupted and repeated. A file that does not match its digest
or cannot be read is reported, its set is skipped except for the original, and the exit
status is 1. Then --keep deletes nothing: older snapshots may have what this one lacks.
'backup verify' checks whether a backup can be restored.

The configuration is not in storage.dir: keep /etc/optimizerd too. Sets in the bucket
of storage.s3 stay there; only their index is copied. A node of a fleet has nothing in
storage.dir that needs a backup.

A backup contains the key that signs URLs, and everything that was uploaded: protect it
like the data folder.`,
		Example: `  sudo -u optimizerd optimizerd backup /mnt/usb/optimizerd --keep 30
  sudo -u optimizerd optimizerd backup s3://backups/pi --s3-endpoint https://ACCOUNT.r2.cloudflarestorage.com --s3-key-file key`,
		Args: cobra.ExactArgs(1),
		// Because of the command below, cobra would complete no directory by itself.
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if keep < 0 {
				return fmt.Errorf("--keep must be at least 0 (got %d)", keep)
			}
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			if c.Fleet.Enabled() {
				return errInFleet
			}
			store, err := at.openStore(args[0], c, true)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			totals, err := backup.Run(cmd.Context(), backup.Config{
				Dir: c.Storage.Dir, Version: buildinfo.Version(), Keep: keep,
				Damaged: func(file string, err error) {
					fmt.Fprintf(cmd.ErrOrStderr(), "optimizerd: left out: %s: %v\n", printable(file), err)
				},
			}, store)
			if err == nil && keep > 0 && totals.Damaged > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "optimizerd: older snapshots are kept until nothing is left out")
			}
			return printBackup(cmd, totals, err, asJSON, "copied")
		},
	}
	at.addFlags(c)
	c.Flags().IntVar(&keep, "keep", 0, "keep only the newest `number` of snapshots, and the files that these use (0 deletes nothing)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	c.AddCommand(backupVerifyCommand(o))
	return c
}

var errInFleet = errors.New("fleet.servers is set, so storage.dir has nothing to back up or restore: images are in the bucket of storage.s3, " +
	"and optimizerd fleet rebuild makes their index from it; back up the jobs in NATS with: nats account backup")

func (f *bucketFlags) openStore(address string, c config.Config, create bool) (backup.Store, error) {
	if !strings.HasPrefix(address, bucketScheme) {
		if within(c.Storage.Dir, address) {
			return nil, fmt.Errorf("%s is in storage.dir, and would be lost with it", address)
		}
		return backup.OpenFolder(address, create)
	}
	objects, prefix, err := f.open(address, c)
	if err != nil {
		return nil, err
	}
	return backup.OpenBucket(objects, prefix), nil
}

// within reports whether path is in dir, by whatever links.
func within(dir, path string) bool {
	dir, path = resolve(dir), resolve(path)
	return path == dir || strings.HasPrefix(path, dir+string(os.PathSeparator))
}

// resolve returns an absolute path without links. The last parts of the path may be
// missing.
func resolve(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if followed, err := filepath.EvalSymlinks(path); err == nil {
		return followed
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolve(parent), filepath.Base(path))
	}
	return path
}

func printBackup(cmd *cobra.Command, t backup.Totals, err error, asJSON bool, done string) error {
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(t)
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "snapshot %s: %d sets, %d originals, %d records, %d sources; %d files %s (%s), %d damaged\n",
			t.Snapshot, t.Sets, t.Originals, t.Records, t.Sources, t.Copied, done, humanize.IBytes(uint64(t.Bytes)), t.Damaged)
		if t.Deleted > 0 && err == nil {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d older snapshots deleted\n", t.Deleted)
		}
	}
	if err == nil && t.Damaged > 0 {
		return errReported
	}
	return err
}

func listSnapshots(cmd *cobra.Command, store backup.Store, asJSON bool) error {
	names, err := store.Snapshots(cmd.Context())
	for _, name := range names {
		if !asJSON {
			fmt.Fprintln(cmd.OutOrStdout(), name)
		} else if err := json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"snapshot": name}); err != nil {
			return err
		}
	}
	return err
}

func restoreCommand(o *options) *cobra.Command {
	var (
		at           bucketFlags
		snapshot     string
		list, asJSON bool
	)
	c := &cobra.Command{
		Use:   "restore {DIR | s3://BUCKET/PREFIX}",
		Short: "Restore the data folder from a backup",
		Long: `Restore storage.dir from the newest snapshot of a backup, or from another one. The
daemon must be stopped, and storage.dir must be missing or empty: nothing that exists
is overwritten. Every file is verified against its digest.

It can be interrupted and repeated. Jobs that had not ended are executed when the
daemon starts, and webhooks that were not delivered are sent. Run it as the user of
the daemon, so that the files belong to it.`,
		Example: `  sudo systemctl stop optimizerd
  sudo mv /var/lib/optimizerd /var/lib/optimizerd.old
  sudo install -d -o optimizerd -g optimizerd -m 750 /var/lib/optimizerd
  sudo -u optimizerd optimizerd restore /mnt/usb/optimizerd
  sudo -u optimizerd optimizerd verify
  sudo systemctl start optimizerd`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			if c.Fleet.Enabled() {
				return errInFleet
			}
			store, err := at.openStore(args[0], c, false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			if list {
				return listSnapshots(cmd, store, asJSON)
			}
			totals, err := backup.Restore(cmd.Context(), c.Storage.Dir, store, snapshot, func(file string, err error) {
				fmt.Fprintf(cmd.ErrOrStderr(), "optimizerd: not restored: %s: %v\n", printable(file), err)
			})
			return printBackup(cmd, totals, err, asJSON, "restored")
		},
	}
	at.addFlags(c)
	c.Flags().StringVar(&snapshot, "snapshot", "", "`name` of the snapshot (default: the newest)")
	c.Flags().BoolVar(&list, "list", false, "list the snapshots, oldest first, and restore nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON; with --list, a line for each snapshot")
	return c
}
