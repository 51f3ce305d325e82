package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/durable/diskspace"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/publish/move"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

func moveCommand(o *options) *cobra.Command {
	var to string
	var remove, asJSON bool
	c := &cobra.Command{
		Use:   "move --to {s3 | folder}",
		Short: "Copy all image sets into the S3 store, or back into storage.dir",
		Long: `Copy the published sets, with their originals, from storage.dir to the store of
storage.s3, or back. Each file is compared with the digest in its manifest.

The daemon must be stopped. In a fleet the sets are added to its index, and only the
daemon of this storage.dir must be stopped. The command can be interrupted and repeated:
sets that have been copied are not copied again. Nothing is deleted without --delete, which
deletes each set from its old location once its copy is complete; a copy that an earlier
move made is read and compared first.`,
		Example: `  sudo systemctl stop optimizerd
  sudo systemd-run --pipe --wait --property=User=optimizerd \
    --property=LoadCredential=s3-key:optimizerd.s3-key optimizerd move --to s3
  sudo systemctl start optimizerd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to != "s3" && to != "folder" {
				return fmt.Errorf("--to must be s3 or folder (got %q)", to)
			}
			c, log, err := o.loadWithLog(cmd)
			if err != nil {
				return err
			}
			return moveSets(cmd, c, log, to, remove, asJSON)
		},
	}
	c.Flags().StringVar(&to, "to", "", "`destination` of the sets: s3 or folder")
	c.Flags().BoolVar(&remove, "delete", false, "delete each set from its old location once it is copied")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	if err := c.MarkFlagRequired("to"); err != nil {
		panic(err) // the flag was added above
	}
	return c
}

// moved is the result of a move.
type moved struct {
	Copied int `json:"copied"`
	There  int `json:"there"` // copied before
	Failed int `json:"failed"`
}

func moveSets(cmd *cobra.Command, c config.Config, log *zap.Logger, to string, remove, asJSON bool) (err error) {
	dir := filepath.Join(c.Storage.Dir, "moving")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	lock, err := durable.LockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir), lock.Close()) }() // in this order: the next move may wait for the lock
	staging, err := spool.Open(spool.Config{Dir: dir, MaxBytes: c.Limits.MaxBytes, MinFree: c.Storage.MinFree, Memory: moveMemory})
	if err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	objects, err := openBucket(cmd, c, log, staging)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, objects.Close()) }()
	folder, err := publish.Open(publish.Config{
		Dir: filepath.Join(c.Storage.Dir, "files"), Originals: filepath.Join(c.Storage.Dir, "originals"), KeepOriginals: true,
		Room: diskspace.Reserve{Dir: c.Storage.Dir, MinFree: c.Storage.MinFree}.Check,
	}, log)
	if err != nil {
		return fmt.Errorf("storage.dir: %w", err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()

	var result moved
	m := move.Move{From: folder, To: objects, Spool: staging, Delete: remove}
	if to == "folder" {
		m.From, m.To = objects, folder
	}
	total := len(m.From.IDs())
	progress := cmd.ErrOrStderr()
	m.Report = func(id string, copied bool, err error) {
		switch {
		case err != nil:
			result.Failed++
			fmt.Fprintf(progress, "optimizerd: %s: %v\n", id, err)
		case copied:
			result.Copied++
		default:
			result.There++
		}
		if done := result.Copied + result.There + result.Failed; done%progressStep == 0 {
			fmt.Fprintf(progress, "optimizerd: %d of %d sets\n", done, total)
		}
	}
	err = m.Run(cmd.Context())
	return errors.Join(err, printMoved(cmd.OutOrStdout(), result, asJSON))
}

// moveMemory is how much memory the files of a set may take on their way, bytes.
const moveMemory = 64 << 20

// progressStep is the number of sets between two lines of progress.
const progressStep = 100

func printMoved(out io.Writer, r moved, asJSON bool) error {
	var err error
	if asJSON {
		err = json.NewEncoder(out).Encode(r)
	} else {
		_, err = fmt.Fprintf(out, "copied: %d, copied before: %d, failed: %d\n", r.Copied, r.There, r.Failed)
	}
	if err == nil && r.Failed > 0 {
		return errReported
	}
	return err
}

// openBucket opens the configured object store for a command, and probes it. Its
// index is that of the fleet, if there is one.
func openBucket(cmd *cobra.Command, c config.Config, log *zap.Logger, staging *spool.Spool) (_ *bucketStore, err error) {
	objects, err := connectBucket(c)
	if err != nil {
		return nil, err
	}
	settings := bucket.Config{Dir: filepath.Join(c.Storage.Dir, bucket.Folder), KeepOriginals: true}
	opened := new(bucketStore)
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	if c.Fleet.Enabled() {
		options := c.FleetOptions()
		options.Log = log
		if opened.fleet, err = fleet.Connect(cmd.Context(), options); err != nil {
			return nil, err
		}
		settings.Index = opened.fleet.NewIndex()
	}
	if opened.Store, err = bucket.Open(settings, objects, staging, log); err != nil {
		return nil, err
	}
	if err := opened.Probe(cmd.Context()); err != nil {
		return nil, err
	}
	if err := opened.Check(); err != nil {
		return nil, err
	}
	return opened, nil
}

// bucketStore is an object store with the index of a fleet, if there is one.
type bucketStore struct {
	*bucket.Store

	fleet *fleet.Fleet
}

// Close closes what was opened.
func (s *bucketStore) Close() (err error) {
	if s.Store != nil {
		err = s.Store.Close()
	}
	if s.fleet != nil {
		err = errors.Join(err, s.fleet.Close())
	}
	return err
}
