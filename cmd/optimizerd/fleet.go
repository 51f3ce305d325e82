package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
)

func fleetCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "fleet",
		Short: "Show and maintain a fleet of several machines",
		Long: `Show the fleet of fleet.servers, and maintain its index. The commands query NATS and the
store, so they work on any node, even if its daemon is not running. With the package, run
them with sudo: only root can read the store's key.`,
	}
	c.AddCommand(fleetStatusCommand(o), fleetRebuildCommand(o), fleetOrphansCommand(o), fleetDrainCommand(o))
	return c
}

// loadFleet reads the configuration of a node.
func (o *options) loadFleet(cmd *cobra.Command) (config.Config, *zap.Logger, error) {
	c, log, err := o.loadWithLog(cmd)
	if err == nil && !c.Fleet.Enabled() {
		err = errors.New("fleet.servers is empty, so this machine is in no fleet; docs/fleet.md says how to make one")
	}
	return c, log, err
}

// attachFleet connects to a fleet that exists.
func attachFleet(cmd *cobra.Command, c config.Config, log *zap.Logger) (*fleet.Fleet, error) {
	options := c.FleetOptions()
	options.Log = log
	return fleet.Attach(cmd.Context(), options)
}

func fleetStatusCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes, the lanes, the NATS servers and the index of the fleet",
		Long: `Show the nodes (their version, abilities, start and number of jobs), the waiting jobs
of each lane, the NATS servers and how many have a complete copy of each stream, and the
size of the index. Nodes report every 10 seconds.

The exit status is 1 if a stream has fewer complete copies than fleet.replicas, or no
node takes jobs.`,
		Example: `  sudo optimizerd fleet status
  sudo optimizerd fleet status --json | jq -r '.nodes[] | select(.draining).name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			c, log, err := o.loadFleet(cmd)
			if err != nil {
				return err
			}
			f, err := attachFleet(cmd, c, log)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			r, err := f.Report(cmd.Context(), true)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			} else {
				err = printFleet(cmd.OutOrStdout(), r)
			}
			if err == nil && !r.Healthy() {
				return errReported
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printFleet(out io.Writer, r fleet.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tVERSION\tSINCE\tJOBS\tSTATE\tWRITES\tLIBVIPS\tLADDER\tLIMITS")
	for _, n := range r.Nodes {
		a := n.Abilities
		if a == nil {
			a = new(fleet.Abilities)
		}
		var formats []string
		for _, f := range a.Outputs {
			formats = append(formats, string(f))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s, %d Mpx\n", n.Name, printable(n.Version), localTime(n.Started), n.Leases, n.State(),
			cmp.Or(printable(strings.Join(formats, ",")), "-"), cmp.Or(printable(a.Libvips), "-"), cmp.Or(printable(a.Recipe), "-"), humanize.IBytes(uint64(a.MaxBytes)), a.MaxPixels/1_000_000)
	}
	fmt.Fprintln(w, "\nLANE\tWAITING\tLEASED")
	for _, name := range slices.Sorted(maps.Keys(r.Lanes)) {
		fmt.Fprintf(w, "%s\t%d\t%d\n", name, r.Lanes[name].Waiting, r.Lanes[name].Leased)
	}
	fmt.Fprintf(w, "webhooks\t%d\n", r.Webhooks)
	fmt.Fprintln(w, "\nSTREAM\tCOPIES\tLEADER\tOTHERS\tMESSAGES\tSIZE")
	for _, s := range r.Streams {
		var others []string
		for _, p := range s.Replicas {
			others = append(others, p.String())
		}
		fmt.Fprintf(w, "%s\t%d of %d\t%s\t%s\t%d\t%s\n", s.Name, s.Healthy(), s.Wanted, cmp.Or(printable(s.Leader), "none"), cmp.Or(strings.Join(others, ", "), "-"), s.Messages, humanize.IBytes(s.Bytes))
	}
	fmt.Fprintf(w, "\nindex: %d sets, %s; %d being deleted\n", r.Index.Sets, humanize.IBytes(uint64(r.Index.Bytes)), r.Index.Deleting)
	return w.Flush()
}

func fleetRebuildCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "rebuild",
		Short: "Rebuild the index in NATS from the image sets in the S3 store",
		Long: `List the bucket of storage.s3 and add each set that is complete there, with its
manifest and every file that it names, to the index in NATS. Entries whose set is gone
are removed. Use it after the data of all NATS servers was lost.

The nodes may keep working meanwhile. It can be interrupted and repeated: sets that are
in the index are not read again. Nothing in the bucket is changed, except that deletions
are finished. The exit status is 1 if a set in the bucket is damaged.`,
		Example: `  sudo optimizerd fleet rebuild`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := o.loadFleet(cmd)
			if err != nil {
				return err
			}
			return rebuild(cmd, c, log, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// leastOrphanAge is longer than any set takes to be made.
const leastOrphanAge = time.Hour

func fleetOrphansCommand(o *options) *cobra.Command {
	var (
		remove, asJSON bool
		age            time.Duration
	)
	c := &cobra.Command{
		Use:   "orphans",
		Short: "List or delete objects in the S3 store that belong to no image set",
		Long: `List the objects in the bucket of storage.s3 under image ids that the index does not
have. A killed node left them; the next upload of the image would adopt them.
Only objects older than --older-than are listed, by the store's clock.

Complete sets that the index lacks are counted, and never deleted: optimizerd fleet
rebuild adds them. With --delete the listed objects are deleted; the nodes may work
meanwhile. If a Worker shares the bucket, check the list first: some objects may be the
Worker's.`,
		Example: `  sudo optimizerd fleet orphans
  sudo optimizerd fleet orphans --older-than 168h --delete`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if age < leastOrphanAge {
				return fmt.Errorf("--older-than must be at least %v: younger objects may belong to a set that is being made (got %v)", leastOrphanAge, age)
			}
			c, log, err := o.loadFleet(cmd)
			if err != nil {
				return err
			}
			store, err := openBucket(cmd, c, log, nil)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			lines := json.NewEncoder(cmd.OutOrStdout())
			r, err := store.Orphans(cmd.Context(), time.Now().Add(-age), func(orphan bucket.Orphan) bool {
				if asJSON {
					_ = lines.Encode(orphan)
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %d objects, %s\n", orphan.ID, localTime(orphan.Newest), orphan.Objects, humanize.IBytes(uint64(orphan.Bytes)))
				}
				return remove
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "optimizerd: orphans: %d with %d objects, %s; deleted: %d; too young: %d\n",
				r.Orphans, r.Objects, humanize.IBytes(uint64(r.Bytes)), r.Deleted, r.Young)
			if r.Sets > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "optimizerd: %d complete sets are not in the index; run: optimizerd fleet rebuild\n", r.Sets)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&remove, "delete", false, "delete them")
	c.Flags().DurationVar(&age, "older-than", 24*time.Hour, "skip objects younger than this `time`, at least 1h")
	c.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each image id")
	return c
}

func fleetDrainCommand(o *options) *cobra.Command {
	var (
		address string
		end     bool
	)
	c := &cobra.Command{
		Use:   "drain",
		Short: "Stop this node from taking jobs, and wait until it has none",
		Long: `Stop the daemon on this machine from taking jobs of the fleet, and wait until its current
jobs are done. It still accepts uploads, for other nodes, and serves files. Use this
before an upgrade or hardware maintenance. SIGTERM alone returns the jobs to the fleet.

Ctrl-C only ends the wait. The node takes jobs again after a restart, or with --end.
The command calls the admin listener, with a token from the configuration if there is one.`,
		Example: `  sudo optimizerd fleet drain && sudo systemctl stop optimizerd
  sudo optimizerd fleet drain --end`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := o.loadFleet(cmd)
			if err != nil {
				return err
			}
			if address == "" {
				if address, err = adminAddress(c); err != nil {
					return err
				}
			}
			return drain(cmd, address, c.TokenStrings(), end)
		},
	}
	c.Flags().BoolVar(&end, "end", false, "let the node take jobs again")
	c.Flags().StringVar(&address, "address", "", "`HOST:PORT` of the admin listener, instead of the configured address")
	return c
}

// drainEvery is the time between two questions whether a node has jobs.
const drainEvery = 500 * time.Millisecond

func drain(cmd *cobra.Command, address string, tokens []string, end bool) error {
	path := fleet.DrainPath
	if end {
		path += "?end=1"
	}
	for before := -1; ; {
		b, err := askAdmin(cmd.Context(), http.MethodPost, address, path, tokens)
		if err != nil {
			return err
		}
		var state fleet.DrainState
		if err := json.Unmarshal(b, &state); err != nil {
			return fmt.Errorf("answer of %s: %w", address, err)
		}
		switch {
		case end:
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "this node takes jobs again")
			return err
		case state.Leases == 0:
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "drained: this node has no jobs and takes none")
			return err
		case state.Leases != before:
			fmt.Fprintf(cmd.ErrOrStderr(), "optimizerd: %d jobs left\n", state.Leases)
			before = state.Leases
		}
		select {
		case <-time.After(drainEvery):
		case <-cmd.Context().Done():
			return errInterrupted
		}
	}
}
