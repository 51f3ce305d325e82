package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
)

func rebuildCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "rebuild",
		Short: "Rebuild the local index from the image sets in the S3 store",
		Long: `List the bucket of storage.s3 and rebuild the index in storage.dir from the sets that
are complete there: the manifest and every file that it names. Use it after
storage.dir was lost, or on a new machine.

The daemon must be stopped. A fleet has its index in NATS: see optimizerd fleet
rebuild. Nothing in the bucket is changed, except that deletions are finished.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := o.loadWithLog(cmd)
			if err != nil {
				return err
			}
			if c.Fleet.Enabled() {
				return errors.New("fleet.servers is set, so the index is not in storage.dir: use optimizerd fleet rebuild")
			}
			return rebuild(cmd, c, log, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

func rebuild(cmd *cobra.Command, c config.Config, log *zap.Logger, asJSON bool) (err error) {
	store, err := openBucket(cmd, c, log, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	result, err := store.Rebuild(cmd.Context(), func(sets int) {
		if sets%progressStep == 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "optimizerd: %d sets\n", sets)
		}
	})
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(result)
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "sets: %d, added: %d, removed: %d, damaged: %d\n", result.Sets, result.Added, result.Removed, result.Damaged)
	}
	if err == nil && result.Damaged > 0 {
		return errReported
	}
	return err
}
