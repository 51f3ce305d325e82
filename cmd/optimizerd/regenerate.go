package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

func regenerateCommand(o *options) *cobra.Command {
	r := &remote{options: o}
	var (
		all, prune, dryRun, asJSON bool
		parallel                   int
	)
	c := &cobra.Command{
		Use:   "regenerate {--all | ID…}",
		Short: "Make image sets again with the current ladder",
		Long: `Make the daemon render image sets again from their kept originals, after a change of
the ladder or an upgrade that changes the output. A new set has a new id, and its
manifest names the old one in "replaces". Sets that would not change are skipped.

The work is done in the background, while nothing else waits. It starts with an
estimate of its time; --dry-run stops there. Ctrl-C pauses it after at most one image;
repeat the command to resume.

An image whose original is not kept is listed as skipped; its set stays. So does a set
of a single variant, which was made on demand.

--prune deletes each old set when the new one is complete and has the original. Until
then both are served. First update whatever links to the old ids: the JSON lines have
both ids.

` + withToken,
		Example: `  optimizerd regenerate --all --dry-run
  optimizerd regenerate --all | tee regenerated.jsonl
  optimizerd regenerate --all --prune`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, ids []string) error {
			switch {
			case all == (len(ids) > 0):
				return errors.New("name the images as 'images list' shows them, or use --all")
			case parallel < 1 || parallel > 64:
				return fmt.Errorf("--parallel must be from 1 to 64 (got %d)", parallel)
			}
			d, err := r.connect(cmd)
			if err != nil {
				return err
			}
			defer d.Close()
			d.Waits = func(reason string) { fmt.Fprintln(cmd.ErrOrStderr(), "optimizerd: waiting:", printable(reason)) }
			g := &regenerator{client: d, prune: prune}
			sets, err := g.find(cmd.Context(), ids)
			if err != nil {
				return describeRefusal(err)
			}
			estimate, err := estimateTime(cmd.Context(), d, sets)
			if err != nil {
				return describeRefusal(err)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "optimizerd:", estimate)
			if dryRun {
				return nil
			}
			return reportAll(cmd.Context(), newReport(os.Stdout, os.Stderr, len(sets), asJSON), batch[client.Set]{sets, "images", parallel, nameOfSet, g.remake})
		},
	}
	r.addFlags(c)
	flags := c.Flags()
	flags.BoolVar(&all, "all", false, "every image")
	flags.BoolVar(&prune, "prune", false, "delete each old set once its successor is complete")
	flags.BoolVar(&dryRun, "dry-run", false, "only estimate")
	flags.BoolVar(&asJSON, "json", false, "print lines of JSON even on a terminal")
	flags.IntVarP(&parallel, "parallel", "j", 1, "`number` of images to make at once")
	return c
}

type regenerator struct {
	client     *client.Client
	prune      bool
	recipe     atomic.Pointer[string]  // of the daemon, once a set was made
	successors map[string][]client.Set // by the id that they replace
}

// find returns the sets to make again, oldest first, so that the new ones are in
// the order of the old.
func (g *regenerator) find(ctx context.Context, ids []string) (sets []client.Set, err error) {
	g.successors = make(map[string][]client.Set)
	wanted := make(map[string]bool)
	for _, id := range ids {
		wanted[id] = true
	}
	err = g.client.Sets(ctx, func(m client.Set, _ json.RawMessage) bool {
		if m.Replaces != "" {
			g.successors[m.Replaces] = append(g.successors[m.Replaces], m)
		}
		if len(ids) == 0 || wanted[m.ID] {
			sets = append(sets, m)
		}
		delete(wanted, m.ID)
		return true
	})
	if err != nil {
		return nil, err
	}
	for id := range wanted {
		return nil, fault.New(fault.NotFound, "There is no image %.60q.", id)
	}
	slices.Reverse(sets)
	return sets, nil
}

func nameOfSet(m client.Set) string {
	if m.Source.Filename != "" {
		return m.Source.Filename
	}
	return m.ID
}

// remake makes one set again.
func (g *regenerator) remake(ctx context.Context, m client.Set) (outcome, bool) {
	o, err := g.attempt(ctx, m)
	if fault.CodeOf(err) == fault.NotFound {
		return outcome{File: nameOfSet(m), ID: m.ID, Status: "skipped", Reason: "the original is not kept, or the image was deleted"}, true
	}
	return outcomeOf(ctx, nameOfSet(m), o, err)
}

func (g *regenerator) attempt(ctx context.Context, m client.Set) (o outcome, err error) {
	o = outcome{File: nameOfSet(m), ID: m.ID, Status: "there", BytesIn: m.Source.Bytes}
	if len(m.Variants) == 1 && len(m.Omitted) == 0 {
		o.Status, o.Reason = "skipped", "a single variant, which is made on demand"
		return o, nil
	}
	if g.current(m) {
		return o, nil
	}
	made, known := g.successor(m)
	if !known {
		if made, err = g.client.Remake(ctx, m.ID); err != nil {
			return o, err
		}
		g.recipe.Store(&made.Recipe)
		if made.ID == m.ID {
			return o, nil
		}
		o.Status, o.Variants = "made", len(made.Variants)
		for _, v := range made.Variants {
			o.BytesOut += v.Bytes
		}
	}
	o.ID, o.Replaces = made.ID, m.ID
	if !g.prune {
		return o, nil
	}
	// The successor must be able to do without its predecessor.
	if _, err := g.client.Remake(ctx, made.ID); err != nil {
		if fault.CodeOf(err) == fault.NotFound {
			err = fault.New(fault.Conflict, "The old set was not deleted: the new one %s has no original; set storage.keep_originals.", made.ID)
		}
		return o, err
	}
	if err := g.client.Call(ctx, http.MethodDelete, "/v1/images/"+url.PathEscape(m.ID), nil); err != nil {
		return o, err
	}
	o.Deleted = true
	return o, nil
}

// current reports whether a set is known to have the daemon's recipe.
func (g *regenerator) current(m client.Set) bool {
	recipe := g.recipe.Load()
	return recipe != nil && *recipe == m.Recipe
}

// successor returns the set with the daemon's recipe that replaces m, if an earlier
// run has made it.
func (g *regenerator) successor(m client.Set) (client.Image, bool) {
	for _, s := range g.successors[m.ID] {
		if g.current(s) {
			return client.Image{ID: s.ID, Recipe: s.Recipe}, true
		}
	}
	return client.Image{}, false
}

// sampleJobs is the number of recent jobs that an estimate is made from.
const sampleJobs = 100

// estimateTime says how long it takes to make sets, from the times of recent jobs.
func estimateTime(ctx context.Context, d *client.Client, sets []client.Set) (string, error) {
	var pixels float64
	for _, m := range sets {
		pixels += float64(m.Source.Width) * float64(m.Source.Height)
	}
	text := fmt.Sprintf("%d images of %.1f megapixels together", len(sets), pixels/1e6)
	recent, err := d.Jobs(ctx, "completed", sampleJobs)
	if err != nil {
		return "", err
	}
	var rates []float64 // seconds per pixel
	for _, raw := range recent {
		var j struct {
			client.Job
			Output *struct{ Manifest *client.Set }
		}
		if err := json.Unmarshal(raw, &j); err != nil {
			return "", err
		}
		if j.StartedAt == nil || j.FinishedAt == nil || j.Output == nil || j.Output.Manifest == nil {
			continue
		}
		source := j.Output.Manifest.Source
		rates = append(rates, j.FinishedAt.Sub(*j.StartedAt).Seconds()/(float64(source.Width)*float64(source.Height)))
	}
	if len(rates) == 0 {
		return text + "; the time cannot be estimated: there is no recent job of a ladder", nil
	}
	slices.Sort(rates)
	took := time.Duration(pixels * rates[len(rates)/2] * float64(time.Second))
	return fmt.Sprintf("%s; about %v if all of them must be made, by the median of %d recent jobs", text, took.Round(time.Second), len(rates)), nil
}
