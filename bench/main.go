// Command bench compares: our daemon, plain bimg and sharp make the same ladders
// of the same photos, our daemon and nginx send the same files, and clients
// queue up. It prints docs/performance.md, and can keep the figures as JSON.
//
// It runs in the root of the repository; scripts/bench builds what it needs.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

type bench struct {
	testdata string // the folder with bimg's photos
	folder   string // for all that is made
	rounds   int
	figures  string // the file for the results; "" for none
	photos   []photo
	results  results
}

// part is a section of the report.
type part struct {
	name    string
	measure func(*bench, context.Context) error
}

var parts = []part{
	{"ladder", (*bench).ladders},
	{"quality", (*bench).quality},
	{"memory", (*bench).peaks},
	{"load", (*bench).uploads},
	{"serving", (*bench).serving},
	{"effort", (*bench).efforts},
	{"avif", (*bench).avif},
	{"profiles", (*bench).profiles},
}

func partNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func main() {
	if err := execute(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func execute(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	testdata := flags.String("testdata", "", "folder with bimg's photos")
	rounds := flags.Int("rounds", 5, "how often each thing is measured")
	photos := flags.String("photos", strings.Join(allPhotos, ","), "of the ladders")
	chosen := flags.String("parts", strings.Join(partNames(), ","), "what is measured")
	pagePath := flags.String("o", "", "file for the page, instead of standard output")
	figures := flags.String("json", "", "file for the figures, written after each part: -from makes a page of it")
	from := flags.String("from", "", "file with the figures of an earlier run: print those, measure nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *from != "" {
		r, err := readResults(*from)
		if err != nil {
			return err
		}
		return publish(*pagePath, stdout, r)
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds: at least 1 (got %d)", *rounds)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	folder, err := os.MkdirTemp("", "optimizerd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b := bench{testdata: *testdata, folder: folder, rounds: *rounds, figures: *figures}
	if err := b.measure(ctx, strings.Split(*photos, ","), strings.Split(*chosen, ",")); err != nil {
		return err
	}
	return publish(*pagePath, stdout, b.results)
}

// save writes the figures of the parts that are measured.
func (b *bench) save() error {
	if b.figures == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(b.figures, append(text, '\n'), 0o644)
}

// publish writes the page to a file, or to standard output. A page that cannot
// be written leaves the old one.
func publish(path string, stdout io.Writer, r results) error {
	var page bytes.Buffer
	if err := report(&page, r); err != nil {
		return err
	}
	if path == "" {
		_, err := page.WriteTo(stdout)
		return err
	}
	return os.WriteFile(path, page.Bytes(), 0o644)
}

func readResults(path string) (r results, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// measure does the chosen parts, and saves the figures after each: an interrupted
// run of half an hour is not lost.
func (b *bench) measure(ctx context.Context, photos, chosen []string) (err error) {
	for _, name := range chosen {
		if !slices.Contains(partNames(), name) {
			return fmt.Errorf("-parts: there is no %q, only %s", name, strings.Join(partNames(), ","))
		}
	}
	b.results = results{Date: time.Now().UTC().Truncate(time.Minute), Rounds: b.rounds, LoadSeconds: loadWindow.Seconds()}
	if b.results.Machine, err = describeMachine(ctx); err != nil {
		return err
	}
	version, err := output(ctx, "bin/optimizerd", "version")
	if err != nil {
		return err
	}
	b.results.about(strings.Split(version, "\n")[0])
	for _, name := range photos {
		p, err := b.load(ctx, name)
		if err != nil {
			return err
		}
		b.photos = append(b.photos, p)
	}
	for _, part := range parts {
		if !slices.Contains(chosen, part.name) {
			continue
		}
		if err := part.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		if err := b.save(); err != nil {
			return err
		}
	}
	return nil
}

// progress says on standard error what is done now: it takes a while.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
