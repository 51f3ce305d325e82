package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/fault"
)

func jobsCommand(o *options) *cobra.Command {
	r := &remote{options: o}
	c := &cobra.Command{
		Use:   "jobs",
		Short: "List, retry or cancel jobs of a running daemon",
		Long: `List, show, retry or cancel the jobs of a running daemon: those that have not
ended, and those that ended less than jobs.keep ago.

` + withToken,
	}
	r.addFlags(c)
	c.AddCommand(jobsListCommand(r), jobsShowCommand(r), jobsRetryCommand(r), jobsCancelCommand(r))
	return c
}

func jobsListCommand(r *remote) *cobra.Command {
	var (
		status string
		limit  int
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "list",
		Short: "List jobs, newest first",
		Example: `  optimizerd jobs list --status failed
  optimizerd jobs list --json --limit 1000 | jq -r 'select(.error.code == "input_unavailable").id'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return fmt.Errorf("--limit must be at least 1 (got %d)", limit)
			}
			d, err := r.connect(cmd)
			if err != nil {
				return err
			}
			defer d.Close()
			found, err := d.Jobs(cmd.Context(), status, limit)
			if err != nil {
				return describeRefusal(err)
			}
			if asJSON {
				return printLines(cmd, found)
			}
			return printJobs(cmd, found)
		},
	}
	c.Flags().StringVar(&status, "status", "", "only jobs with this `status`: pending, processing, completed or failed")
	c.Flags().IntVar(&limit, "limit", 50, "list at most this `number` of jobs")
	c.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each job, as GET /jobs/{id} returns it")
	completeValues(c, "status", "pending", "processing", "completed", "failed")
	return c
}

// completeValues completes the values of a flag.
func completeValues(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the caller has added the flag
	}
}

// printLines prints a line for each JSON value.
func printLines(cmd *cobra.Command, values []json.RawMessage) error {
	for _, v := range values {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", v); err != nil {
			return err
		}
	}
	return nil
}

func printJobs(cmd *cobra.Command, found []json.RawMessage) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "no jobs")
		return err
	}
	w := newTable(cmd)
	fmt.Fprintln(w, "ID\tCREATED\tSTATUS\tATTEMPTS\tINPUT\tERROR")
	for _, raw := range found {
		var j client.Job
		if err := json.Unmarshal(raw, &j); err != nil {
			return err
		}
		reason := "-"
		if j.Error != nil {
			reason = string(j.Error.Code) + ": " + printable(j.Error.Message)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", j.ID, localTime(j.CreatedAt), j.Status, j.Attempts, printable(short(j.Input)), reason)
	}
	return w.Flush()
}

// short limits a long value in a table.
func short(s string) string {
	const longest = 60
	if r := []rune(s); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return s
}

func jobsShowCommand(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:               "show ID",
		Short:             "Print a job as JSON",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: r.completeJobs(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := r.connect(cmd)
			if err != nil {
				return err
			}
			defer d.Close()
			var j any
			if err := d.Call(cmd.Context(), http.MethodGet, "/jobs/"+url.PathEscape(args[0]), &j); err != nil {
				return describeRefusal(err)
			}
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			e.SetEscapeHTML(false)
			return e.Encode(j)
		},
	}
}

func jobsRetryCommand(r *remote) *cobra.Command {
	var failed bool
	c := &cobra.Command{
		Use:   "retry {ID… | --failed}",
		Short: "Queue failed jobs again",
		Long: `Queue failed jobs again, under their ids and with their settings. Their webhooks are
sent again when they end. The source of an upload that failed is kept within
jobs.keep_bytes; without it, upload the image again.`,
		Example: `  optimizerd jobs retry job_01arz3ndektsv4rrffq69g5fav
  optimizerd jobs retry --failed`,
		ValidArgsFunction: r.completeJobs("failed"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if failed == (len(args) > 0) {
				return errors.New("name the jobs to retry as 'jobs list' shows them, or use --failed")
			}
			return r.each(cmd, func(ctx context.Context, d *client.Client) ([]string, error) {
				if !failed {
					return args, nil
				}
				return failedJobs(ctx, d)
			}, http.MethodPost, "/retry", "queued again")
		},
	}
	c.Flags().BoolVar(&failed, "failed", false, "every failed job")
	return c
}

// failedJobs returns the ids of all failed jobs.
func failedJobs(ctx context.Context, d *client.Client) (ids []string, err error) {
	const all = 1 << 30
	found, err := d.Jobs(ctx, "failed", all)
	if err != nil {
		return nil, err
	}
	for _, raw := range found {
		var j client.Job
		if err := json.Unmarshal(raw, &j); err != nil {
			return nil, err
		}
		ids = append(ids, j.ID)
	}
	return ids, nil
}

func jobsCancelCommand(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID…",
		Short: "Cancel jobs that have not started",
		Long: `Cancel jobs that have not started. They end as failed, with the code canceled, and
their webhooks say so. A job that has started is not stopped.`,
		Example: `  optimizerd jobs cancel job_01arz3ndektsv4rrffq69g5fav
  optimizerd jobs list --status pending --json --limit 1000 | jq -r .id | xargs optimizerd jobs cancel`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: r.completeJobs("pending"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.each(cmd, func(context.Context, *client.Client) ([]string, error) { return args, nil }, http.MethodDelete, "", "canceled")
		},
	}
}

// each sends a request for each job, and reports each on a line of its own.
func (r *remote) each(cmd *cobra.Command, list func(context.Context, *client.Client) ([]string, error), method, suffix, done string) error {
	d, err := r.connect(cmd)
	if err != nil {
		return err
	}
	defer d.Close()
	ids, err := list(cmd.Context(), d)
	if err != nil {
		return describeRefusal(err)
	}
	return reportEach(cmd, ids, done, func(ctx context.Context, id string) error {
		return d.Call(ctx, method, "/jobs/"+url.PathEscape(id)+suffix, nil)
	})
}

// reportEach does something for each id and prints a line about it. The error is
// errReported if one failed.
func reportEach(cmd *cobra.Command, ids []string, done string, do func(ctx context.Context, id string) error) error {
	failures := 0
	for _, id := range ids {
		err := do(cmd.Context(), id)
		if cmd.Context().Err() != nil {
			return errInterrupted
		}
		if err != nil {
			failures++
			fmt.Fprintf(cmd.ErrOrStderr(), "optimizerd: %s: %v\n", printable(id), describeRefusal(err))
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", id, done)
	}
	if failures > 0 {
		return errReported
	}
	return nil
}

// describeRefusal returns an error for people: of a fault, its sentence.
func describeRefusal(err error) error {
	var refused *fault.Error
	if errors.As(err, &refused) {
		return errors.New(printable(refused.Detail))
	}
	return err
}

// completeJobs completes the ids of the newest jobs with a status.
func (r *remote) completeJobs(status string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		cmd.SetErr(io.Discard) // which configuration is used
		d, err := r.connect(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		defer d.Close()
		jobs, err := d.Jobs(cmd.Context(), status, 50)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var found []cobra.Completion
		for _, raw := range jobs {
			var j client.Job
			if json.Unmarshal(raw, &j) == nil && strings.HasPrefix(j.ID, typed) {
				found = append(found, cobra.CompletionWithDesc(j.ID, j.Status+" "+printable(short(j.Input))))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
