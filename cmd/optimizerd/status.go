package main

import (
	"cmp"
	"context"
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

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/status"
)

func statusCommand(o *options) *cobra.Command {
	var (
		address       string
		asJSON, watch bool
	)
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what the running daemon is doing",
		Long: `Show what the daemon on this machine is doing: queue, images in progress, codec
processes, disk, tunnel, temperature, today's counts and the last errors. The admin
listener serves the same as a page, with graphs and thumbnails: http://127.0.0.1:9180/

The command connects to admin.listen. The exit status is 1 if the daemon does not answer
or a part of it is not ready.`,
		Example: `  optimizerd status
  optimizerd status --watch
  optimizerd status --json | jq '.jobs[] | select(.code)'
  ssh -L 9180:127.0.0.1:9180 pi.local     # then open http://127.0.0.1:9180/`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			if address == "" {
				if address, err = adminAddress(c); err != nil {
					return err
				}
			}
			show := func() error { return showStatus(cmd.Context(), cmd.OutOrStdout(), address, c.TokenStrings(), asJSON) }
			if !watch {
				return show()
			}
			return watchStatus(cmd.Context(), cmd.OutOrStdout(), asJSON, show)
		},
	}
	c.Flags().StringVar(&address, "address", "", "`HOST:PORT` of the admin listener, instead of the configured address")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&watch, "watch", false, "repeat every two seconds until Ctrl-C; with --json, one line each time, {\"error\": …} without an answer")
	return c
}

func adminAddress(c config.Config) (string, error) {
	if c.Admin.Listen == "" {
		return "", errors.New("admin.listen is empty, so the daemon has no admin listener; set it")
	}
	return dialable("admin.listen", c.Admin.Listen)
}

// watchEvery is the time between two reports of --watch.
const watchEvery = 2 * time.Second

func watchStatus(ctx context.Context, out io.Writer, asJSON bool, show func() error) error {
	for {
		if !asJSON && canDraw(out) {
			fmt.Fprint(out, "\x1b[2J\x1b[H") // clear the screen
		}
		if err := show(); err != nil && ctx.Err() == nil && !errors.Is(err, errReported) {
			if err := printOutage(out, asJSON, err); err != nil { // it may be restarting
				return err
			}
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return errInterrupted
		}
	}
}

// printOutage prints why there is no report.
func printOutage(out io.Writer, asJSON bool, reason error) error {
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]string{"error": reason.Error()})
	}
	_, err := fmt.Fprintln(out, reason)
	return err
}

func showStatus(ctx context.Context, out io.Writer, address string, tokens []string, asJSON bool) error {
	r, err := askStatus(ctx, address, tokens)
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(out).Encode(r)
	} else {
		err = printStatus(out, r)
	}
	for _, part := range r.Parts {
		if part.Status == "not_ready" && err == nil {
			err = errReported
		}
	}
	return err
}

func askStatus(ctx context.Context, address string, tokens []string) (r status.Report, err error) {
	b, err := askAdmin(ctx, http.MethodGet, address, status.Path, tokens)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("answer of %s: %w", address, err)
	}
	return r, nil
}

// maxReport is the largest answer of the admin listener that is read, in bytes.
const maxReport = 16 << 20

// askAdmin sends a request to the admin listener and returns the body of its
// answer.
func askAdmin(ctx context.Context, method, address, path string, tokens []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	if len(tokens) > 0 {
		request.Header.Set("Authorization", "Bearer "+tokens[0])
	}
	client := http.Client{Transport: &http.Transport{}} // without the environment's proxy
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no answer from %s: %w; is the daemon running? 'systemctl status optimizerd' says", address, errors.Unwrap(err))
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxReport))
	if err != nil {
		return nil, fmt.Errorf("answer of %s: %w", address, err)
	}
	if answer.StatusCode >= 300 {
		var problem struct{ Detail string }
		if json.Unmarshal(b, &problem) != nil {
			problem.Detail = strings.TrimSpace(string(b[:min(len(b), 1000)])) + " (a daemon of an older version, or another server, listens there)"
		}
		return nil, fmt.Errorf("%s answered %s: %s", address, answer.Status, printable(problem.Detail))
	}
	return b, nil
}

// processState says what a codec process is doing.
func processState(p status.Process, now time.Time) string {
	took := now.Sub(p.Since.Time).Round(time.Millisecond)
	state := fmt.Sprintf("idle for %s", took)
	if p.Busy {
		state = fmt.Sprintf("%s (%s), for %s", printable(cmp.Or(p.Filename, p.Input)), p.JobID, took)
	}
	if p.Background {
		state += ", with low priority"
	}
	return state
}

func printStatus(out io.Writer, r status.Report) error {
	size := func(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	state := "serving"
	if r.Stopping {
		state = "stopping"
	}
	line("optimizerd", "%s, %s, up %s", r.Version, state, r.At.Sub(r.StartedAt.Time).Round(time.Second))
	for _, name := range slices.Sorted(maps.Keys(r.Parts)) {
		p := r.Parts[name]
		line(name, "%s", strings.TrimSuffix(strings.ReplaceAll(p.Status, "_", " ")+"; "+printable(p.Detail), "; "))
	}
	var lanes []string
	for _, lane := range slices.Sorted(maps.Keys(r.Waiting)) {
		lanes = append(lanes, fmt.Sprintf("%d %s", r.Waiting[lane], lane))
	}
	line("waiting", "%s", strings.Join(lanes, ", "))
	line("in progress", "%d, with at most %d codec processes (%d started, %d crashed), libvips %s", len(r.Running), r.Codec.Processes, r.Codec.Started, r.Codec.Crashed, r.Codec.Libvips)
	for _, j := range r.Running {
		line("", "%s %s %s, for %s", j.Phase, printable(cmp.Or(j.Filename, j.Input, j.JobID)), size(j.Bytes), r.At.Sub(j.Since.Time).Round(time.Millisecond))
	}
	for _, p := range r.Codec.Running {
		line(fmt.Sprintf("process %d", p.PID), "%s; %d done, %s in memory", processState(p, r.At.Time), p.Images, size(p.Memory))
	}
	line("disk space", "%s free of %s, %s reserved", size(r.Disk.Free), size(r.Disk.Total), size(r.Disk.Reserved))
	if r.Disk.MaxBytes > 0 {
		line("retention", "%s of %s", size(r.Disk.Sets), size(r.Disk.MaxBytes))
	}
	if r.Board != "" {
		line("board", "%s", r.Board)
	}
	line("images", "%d", r.Images)
	line("today", "%d made from %s, %d failed", r.Today.Completed, size(r.Today.BytesIn), r.Today.Failed)
	line("webhooks", "%d waiting, %d delivered, %d given up", r.Outbox.Waiting, r.Outbox.Delivered, r.Outbox.GivenUp)
	for _, e := range r.Errors {
		line("error", "%s %s", e.At.Local().Format("2006-01-02 15:04:05"), printable(e.Message))
	}
	failures := 0
	for _, j := range r.Jobs {
		if j.Code == "" || failures == 5 {
			continue
		}
		failures++
		line("failed", "%s %s: %s: %s", j.At.Local().Format("2006-01-02 15:04:05"), printable(cmp.Or(j.Filename, j.Input, j.JobID)), j.Code, printable(j.Message))
	}
	return w.Flush()
}
