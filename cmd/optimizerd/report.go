package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// outcome is what became of one file, and its line of JSON.
type outcome struct {
	File     string       `json:"file"`
	Status   string       `json:"status"`           // made, there, skipped or failed
	Reason   string       `json:"reason,omitempty"` // of skipped
	ID       string       `json:"id,omitempty"`
	Variants int          `json:"variants,omitempty"`
	BytesIn  int64        `json:"bytes_in,omitempty"`
	BytesOut int64        `json:"bytes_out,omitempty"`
	Replaces string       `json:"replaces,omitempty"` // of regenerate: the id of the set before
	Deleted  bool         `json:"deleted,omitempty"`  // the set before was deleted
	Error    *outcomeFail `json:"error,omitempty"`
}

type outcomeFail struct {
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
}

func failed(file string, code fault.Code, message string) outcome {
	return outcome{File: file, Status: "failed", Error: &outcomeFail{code, message}}
}

// report prints outcomes as they come: lines and a progress bar on a terminal,
// JSON elsewhere.
type report struct {
	mu       sync.Mutex
	out      io.Writer
	errOut   io.Writer
	terminal bool
	bar      *progressbar.ProgressBar // nil if there is nothing to draw it on, or for
	files    int
	done     int
	began    time.Time
	current  string // the file that was started last
	stop     chan struct{}
	counts   map[string]int
	in       int64
	outBytes int64
	err      error // the first one of writing
}

// newReport returns a report of this many files. asJSON asks for JSON on a
// terminal too.
func newReport(out, errOut *os.File, files int, asJSON bool) *report {
	r := &report{
		out: out, errOut: errOut, terminal: isTerminal(out) && !asJSON, files: files,
		began: time.Now(), stop: make(chan struct{}), counts: make(map[string]int),
	}
	if r.terminal && files > 0 && canDraw(errOut) {
		r.bar = newBar(errOut, files)
		go r.tick()
	}
	return r
}

// newBar returns a bar of total steps, whose description follows the bar.
func newBar(out io.Writer, total int) *progressbar.ProgressBar {
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(out), progressbar.OptionShowCount(), progressbar.OptionSetWidth(16),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionClearOnFinish(),
		progressbar.OptionUseANSICodes(true), progressbar.OptionShowDescriptionAtLineEnd())
}

// describeTimes returns how long work has taken and, if total is known, about how long
// the rest will take.
func describeTimes(elapsed time.Duration, done, total int) string {
	times := elapsed.Round(time.Second).String() + " elapsed"
	if done > 0 && done < total {
		left := elapsed / time.Duration(done) * time.Duration(total-done)
		times += ", about " + left.Round(time.Second).String() + " left"
	}
	return times
}

// tick keeps the times of the bar up to date.
func (r *report) tick() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-t.C:
			r.mu.Lock()
			r.draw()
			r.mu.Unlock()
		}
	}
}

// start shows the name of a file in the bar.
func (r *report) start(file string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = file
	r.draw()
}

// longestName is how much of a file name the bar shows, in characters.
const longestName = 28

// draw draws the bar while there are files left.
func (r *report) draw() {
	if r.bar == nil || r.done == r.files {
		return
	}
	name := []rune(printable(filepath.Base(r.current)))
	if len(name) > longestName {
		name = append(name[:longestName-1], '…')
	}
	r.bar.Describe(describeTimes(time.Since(r.began), r.done, r.files) + ": " + string(name))
}

// finish adds the outcome of a file that was started.
func (r *report) finish(o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	r.record(o)
	if r.bar != nil {
		r.note(r.bar.Set(r.done))
		r.draw()
	}
}

// add adds the outcome of what was not started.
func (r *report) add(o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record(o)
}

func (r *report) record(o outcome) {
	r.counts[o.Status]++
	r.in += o.BytesIn
	r.outBytes += o.BytesOut
	if !r.terminal {
		r.note(json.NewEncoder(r.out).Encode(o))
		return
	}
	r.clear()
	line := fmt.Sprintf("%-8s %s", o.Status, printable(o.File))
	switch {
	case o.Error != nil:
		line += ": " + o.Error.Message
	case o.Reason != "":
		line += ": " + o.Reason
	default:
		line += " → " + o.ID
	}
	_, err := fmt.Fprintln(r.out, line)
	r.note(err)
}

// note keeps the first error of writing: on a full disk each line has one.
func (r *report) note(err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("the report is incomplete: %w", err)
	}
}

// clear erases the bar, so that a line can be printed in its place.
func (r *report) clear() {
	if r.bar != nil {
		r.note(r.bar.Clear())
	}
}

// end erases the bar, prints a summary on a terminal, and reports whether a file
// failed.
func (r *report) end() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.stop)
	r.clear()
	r.bar = nil
	if r.terminal {
		fmt.Fprintf(r.errOut, "%d made, %d there already, %d failed, %d skipped: %s in, %s out\n", r.counts["made"], r.counts["there"],
			r.counts["failed"], r.counts["skipped"], humanize.Bytes(uint64(r.in)), humanize.Bytes(uint64(r.outBytes)))
	}
	if r.err == nil && r.counts["failed"] > 0 {
		return errReported
	}
	return r.err
}

// batch is work on many items, several at once.
type batch[T any] struct {
	items    []T
	noun     string // what they are, for people
	parallel int
	name     func(T) string
	do       func(context.Context, T) (o outcome, ok bool) // ok is false if ctx ended first
}

// reportAll does a batch and reports each item. After an interruption the error
// says how much is left.
func reportAll[T any](ctx context.Context, r *report, b batch[T]) error {
	var group errgroup.Group
	group.SetLimit(b.parallel)
	var done atomic.Int64
	for _, item := range b.items {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			r.start(b.name(item))
			if o, ok := b.do(ctx, item); ok {
				done.Add(1)
				r.finish(o)
			}
			return nil
		})
	}
	_ = group.Wait() // no function returns an error
	err := r.end()
	if n, all := int(done.Load()), len(b.items); ctx.Err() != nil && n < all {
		return fmt.Errorf("%w: %d of %d %s done, %d left; run the same command again to go on", errInterrupted, n, all, b.noun, all-n)
	}
	return err
}

// outcomeOf returns what became of an item: o, or the failure that err is. ok is
// false if ctx ended first.
func outcomeOf(ctx context.Context, name string, o outcome, err error) (_ outcome, ok bool) {
	switch {
	case err != nil && ctx.Err() != nil:
		return o, false
	case err != nil:
		return failed(name, fault.CodeOf(err), describe(err)), true
	default:
		return o, true
	}
}

// printable quotes text of others that could control the terminal or break a
// table.
func printable(text string) string {
	quoted := strconv.Quote(text)
	if strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`) == text {
		return text
	}
	return quoted
}
