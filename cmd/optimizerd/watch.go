package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func watchCommand() *cobra.Command {
	var (
		d             destination
		every, settle time.Duration
		results       string
	)
	c := &cobra.Command{
		Use:   "watch DIR",
		Short: "Send each new image in a directory to a daemon",
		Long: `Poll a directory tree every few seconds, and send each new image to a daemon once it is
complete: once its size and modification time have not changed for a while. That works
for Samba shares, Syncthing, cameras that upload, and network file systems. Hidden
files, and names that end in .part, .tmp or ~, are skipped.

When a file is done, a line is printed as by upload: JSON, unless it goes to a terminal.
A file that the daemon refused is not sent again until it changes; after a temporary
failure, such as a full disk, it is sent again with backoff, at most every 10 minutes. A
journal records what was accepted, so nothing is sent twice after a restart. The files
stay where they are.

With --results beside, the results of cat.jpg are also put into the directory
cat.jpg.optimized next to it, with their manifest. The daemon keeps its own set until that
is deleted.

As a service: sudo systemctl enable --now "optimizerd-watch@$(systemd-escape -p DIR).service"`,
		Example: `  optimizerd watch /srv/photos
  optimizerd watch --results beside /srv/photos
  optimizerd watch --to https://img.example.com --token-file token ~/Sync/Camera`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if every < time.Second || settle < 0 {
				return errors.New("--every must be at least 1s, and --settle at least 0s")
			}
			if results != "service" && results != "beside" {
				return fmt.Errorf("--results must be service or beside (got %.60q)", results)
			}
			u, err := d.open(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			w := &watcher{uploader: u, dir: args[0], every: every, settle: settle, beside: results == "beside", parallel: d.parallel, report: d.report(0), seen: make(map[string]sighting)}
			return errors.Join(w.run(cmd.Context()), u.close())
		},
	}
	d.addFlags(c)
	c.Flags().DurationVar(&every, "every", 5*time.Second, "time between checks")
	c.Flags().StringVar(&results, "results", "service", "`where` the results are: service, or beside each file too")
	c.Flags().DurationVar(&settle, "settle", 5*time.Second, "how long a file must be unchanged")
	return c
}

// sighting is how a file was last seen.
type sighting struct {
	bytes    int64
	modified time.Time
	since    time.Time // it has been like this
	done     bool      // it was sent, refused or is no image
	next     time.Time // not tried again before
	pause    time.Duration
}

type watcher struct {
	*uploader
	dir      string
	every    time.Duration
	settle   time.Duration
	parallel int
	beside   bool // results are written beside the files, too
	report   *report
	seen     map[string]sighting
}

// run looks until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	for {
		ready, err := w.look(time.Now())
		if err != nil {
			return err
		}
		w.sendAll(ctx, ready)
		select {
		case <-time.After(w.every):
		case <-ctx.Done():
			if err := w.report.end(); !errors.Is(err, errReported) {
				return errors.Join(errInterrupted, err)
			}
			return errInterrupted
		}
	}
}

// look returns the files that are complete and were not sent.
func (w *watcher) look(now time.Time) (ready []foundFile, err error) {
	found := make(map[string]sighting)
	err = filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && path == w.dir:
			return err
		case err != nil:
			return nil //nolint:nilerr // it was deleted meanwhile, or belongs to others
		case path != w.dir && (passedOver(e.Name()) || e.IsDir() && strings.HasSuffix(e.Name(), besideSuffix)):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !e.Type().IsRegular():
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // it was deleted meanwhile
		}
		s := w.sight(path, info, now)
		found[path] = s
		if !s.done && now.Sub(s.since) >= w.settle && !now.Before(s.next) {
			ready = append(ready, foundFile{path, true})
		}
		return nil
	})
	w.seen = found // without those that are gone
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return ready, nil
}

// sight returns what is known of a file; one that has changed is new.
func (w *watcher) sight(path string, info fs.FileInfo, now time.Time) sighting {
	s, ok := w.seen[path]
	if !ok || s.bytes != info.Size() || !s.modified.Equal(info.ModTime()) {
		s = sighting{bytes: info.Size(), modified: info.ModTime(), since: now, done: w.journaled(path, info)}
	}
	return s
}

// journaled reports whether an earlier run has dealt with a file as it is now.
func (w *watcher) journaled(path string, info fs.FileInfo) bool {
	name, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	e, ok := w.journal.Named(name)
	if !ok || e.Bytes != info.Size() || !e.Modified.Equal(info.ModTime()) {
		return false
	}
	return !w.beside || e.ID == "" || hasResults(path, e.ID)
}

// file sends a file, and writes its results beside it if they belong there.
func (w *watcher) file(ctx context.Context, f foundFile) (o outcome, ok bool) {
	o, ok = w.uploader.file(ctx, f)
	if !ok || !w.beside || o.ID == "" {
		return o, ok
	}
	return outcomeOf(ctx, f.path, o, w.save(ctx, f.path, o.ID))
}

// passedOver reports whether a name is that of an unfinished or hidden file.
func passedOver(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasSuffix(name, ".part") || strings.HasSuffix(name, ".tmp")
}

// sendAll sends files and prints a line for each, until ctx ends. One that cannot be
// sent for now is tried again at the next look.
func (w *watcher) sendAll(ctx context.Context, files []foundFile) {
	type result struct {
		path string
		o    outcome
	}
	results := make(chan result)
	go func() {
		var group errgroup.Group
		group.SetLimit(w.parallel)
		for _, f := range files {
			group.Go(func() error {
				if o, ok := w.file(ctx, f); ok {
					results <- result{f.path, o}
				}
				return nil
			})
		}
		_ = group.Wait() // no function returns an error
		close(results)
	}()
	for r := range results {
		w.note(r.path, r.o, time.Now())
		w.report.add(r.o)
	}
}

// longestRetry is the longest time between two attempts to send a file. Each reads it and
// prints a line.
const longestRetry = 10 * time.Minute

// note remembers what became of a file. The pause before the next attempt doubles each
// time.
func (w *watcher) note(path string, o outcome, now time.Time) {
	s := w.seen[path]
	s.done = o.Status != "failed" || !o.Error.Code.Temporary()
	s.pause = min(max(2*s.pause, w.every), max(longestRetry, w.every))
	s.next = now.Add(s.pause)
	w.seen[path] = s
}
