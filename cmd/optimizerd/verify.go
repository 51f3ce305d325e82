package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/publish/bucket"
	"github.com/optimizerd/optimizerd/pkg/verify"
)

func verifyCommand(o *options) *cobra.Command {
	var quick, repair, asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check the integrity of stored images",
		Long: `Compare every stored set with its manifest, and every file and kept
original with its digest. The exit status is 1 if anything is damaged or missing.

It can run alongside the daemon, reads with the lowest CPU and I/O priority, and changes nothing
without --repair. --quick compares names and sizes and reads no image.

--repair moves each damaged set to files/.damaged, where it is no longer served; the
daemon notices at once that the image is absent. Upload the image to make the set again;
if its original is kept, the path of that file is shown. A damaged original is moved to
originals/.damaged. Nothing is deleted: delete .damaged when you no longer need it.

With storage.s3 it reads the bucket instead, where it repairs nothing: delete a
damaged image with 'optimizerd images delete' and upload it again. Without --quick
every object is downloaded. A set that only the local index has is reported, too.

Files that belong to no set are reported and left alone, and do not change the exit
status. The daemon deletes an original without a set when it starts.`,
		Example: `  sudo -u optimizerd optimizerd verify --quick
  sudo -u optimizerd optimizerd verify --repair
  sudo -u optimizerd optimizerd verify --json | jq -r 'select(.original).original'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			lines := json.NewEncoder(out)
			totals, err := verifySets(cmd.Context(), c, quick, repair, func(p verify.Problem) {
				if asJSON {
					_ = lines.Encode(p) // the last line reports the error
					return
				}
				fmt.Fprintln(out, describeProblem(p))
			})
			if err != nil {
				return err
			}
			if asJSON {
				err = lines.Encode(totals)
			} else {
				_, err = fmt.Fprintf(out, "%d sets, %d files, %d originals checked (%s read): %d damaged, %d set aside, %d harmless\n",
					totals.Sets, totals.Files, totals.Originals, humanize.IBytes(uint64(totals.Bytes)), totals.Problems, totals.Repaired, totals.Harmless)
			}
			if err == nil && totals.Problems > 0 {
				return errReported
			}
			return err
		},
	}
	c.Flags().BoolVar(&quick, "quick", false, "compare names and sizes only")
	c.Flags().BoolVar(&repair, "repair", false, "set damaged sets and originals aside, so that the images can be made again")
	c.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each problem, and one with the totals")
	return c
}

// verifySets compares what is in the bucket or in storage.dir with its manifests.
func verifySets(ctx context.Context, c config.Config, quick, repair bool, report func(verify.Problem)) (verify.Totals, error) {
	if !c.Storage.S3.Enabled() {
		return verify.Run(ctx, verify.Config{
			Files: filepath.Join(c.Storage.Dir, "files"), Originals: filepath.Join(c.Storage.Dir, "originals"),
			Quick: quick, Repair: repair, Report: report,
		})
	}
	if repair {
		return verify.Totals{}, errors.New("--repair is for storage.dir; the sets are in a bucket: delete a damaged image with 'optimizerd images delete' and upload it again")
	}
	objects, err := connectBucket(c)
	if err != nil {
		return verify.Totals{}, err
	}
	defer objects.Close()
	what := verify.Bucket{Objects: objects, Quick: quick, Report: report}
	if !c.Fleet.Enabled() { // whose index is in NATS: fleet rebuild compares it
		what.Indexed = func() ([]string, error) { return bucket.Indexed(filepath.Join(c.Storage.Dir, bucket.Folder)) }
	}
	return verify.RunBucket(ctx, what)
}

// describeProblem is the line of a problem for people.
func describeProblem(p verify.Problem) string {
	line := fmt.Sprintf("%-17s %s", p.Kind, p.ID)
	if p.File != "" {
		line += "/" + printable(p.File)
	}
	if p.Detail != "" {
		line += ": " + printable(p.Detail)
	}
	again := cmp.Or(p.Original, "the image")
	switch {
	case p.Repaired:
		line += "; set aside: upload " + again + " again"
	case p.Kind == verify.SetAside:
		line += ": upload " + again + " again"
	}
	return line
}
