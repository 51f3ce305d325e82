package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/backup"
	"github.com/optimizerd/optimizerd/pkg/config"
)

func backupVerifyCommand(o *options) *cobra.Command {
	var (
		at                    bucketFlags
		snapshot              string
		quick, repair, asJSON bool
	)
	c := &cobra.Command{
		Use:     "verify {DIR | s3://BUCKET/PREFIX}",
		Aliases: []string{"check"},
		Short:   "Check whether a backup can be restored",
		Long: `Check whether the snapshots of a backup can be restored: snapshots, manifests and
records are decoded, and every file that they need is compared with its size and digest.
The exit status is 1 if anything is damaged or missing. Each problem is printed with its
image and the snapshots that need the file.

It reads each file once, however many snapshots need it, with the lowest CPU and I/O
priority. --quick compares names and sizes and reads no images: in a bucket that costs a
list of the objects and a request for each set, where a complete check downloads everything.

It changes nothing without --repair, needs no storage.dir, and can run on any machine
that can read the backup, also while a backup runs: snapshots that it deletes meanwhile
are not reported as damaged. After an interruption, the problems that were printed are
valid; the next check starts from the beginning.

The next backup copies files again that are missing or have a wrong size, if storage.dir
still has them. One of the right size is copied again only after --repair, which moves
damaged files to damaged/ in the backup. It reads each again first, and sets nothing aside
in a directory while another backup or restore runs; in a bucket, run it when no backup
does. Nothing is deleted: delete damaged/ when you no longer need it.`,
		Example: `  sudo -u optimizerd optimizerd backup verify /mnt/usb/optimizerd --quick
  sudo -u optimizerd optimizerd backup verify /mnt/usb/optimizerd --repair
  optimizerd backup verify s3://backups/pi --s3-endpoint https://ACCOUNT.r2.cloudflarestorage.com --s3-key-file key
  optimizerd backup verify /mnt/usb/optimizerd --json | jq -r 'select(.image).image' | sort -u`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c, err := o.load(cmd)
			if err != nil {
				return err
			}
			store, err := at.readStore(args[0], c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			check := backup.VerifyConfig{Snapshot: snapshot, Quick: quick}
			if repair {
				check.Repair = func() (backup.Store, error) { return at.openStore(args[0], c, false) }
			}
			return verifyBackup(cmd, check, store, asJSON)
		},
	}
	at.addFlags(c)
	c.Flags().StringVar(&snapshot, "snapshot", "", "`name` of the only snapshot to check (default: all)")
	c.Flags().BoolVar(&quick, "quick", false, "compare names and sizes only")
	c.Flags().BoolVar(&repair, "repair", false, "set damaged files aside, so that the next backup copies them again")
	c.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each problem, and one with the totals")
	return c
}

// readStore opens a backup for reading, beside a command that writes to it.
func (f *bucketFlags) readStore(address string, c config.Config) (backup.Store, error) {
	if !strings.HasPrefix(address, bucketScheme) {
		return backup.ReadFolder(address)
	}
	return f.openStore(address, c, false)
}

// verifyBackup checks a backup and prints the result.
func verifyBackup(cmd *cobra.Command, check backup.VerifyConfig, store backup.Store, asJSON bool) error {
	out := cmd.OutOrStdout()
	lines := json.NewEncoder(out)
	found := make(map[backup.Kind]int)
	progress := newProgress(cmd.ErrOrStderr())
	check.Progress = progress.set
	check.Report = func(p backup.Problem) {
		if p.Kind == backup.DamagedFile && p.SetAside {
			found[setAside]++
		} else {
			found[p.Kind]++
		}
		progress.print(func() {
			if asJSON {
				_ = lines.Encode(p) // the last line reports the error
			} else {
				fmt.Fprintln(out, describeDamage(p))
			}
		})
	}
	totals, err := backup.Verify(cmd.Context(), check, store)
	progress.end()
	if err != nil && cmd.Context().Err() != nil && progress.sets > 0 {
		return fmt.Errorf("%w: %d of %d sets and sources were checked", errInterrupted, progress.done, progress.sets)
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = lines.Encode(totals)
	} else {
		err = printVerified(out, totals, check.Quick)
	}
	for _, line := range repairAdvice(found) {
		fmt.Fprintln(cmd.ErrOrStderr(), "optimizerd:", line)
	}
	if err == nil && totals.Damaged > 0 {
		return errReported
	}
	return err
}

// describeDamage is the line of a problem for people.
func describeDamage(p backup.Problem) string {
	line := fmt.Sprintf("%-17s %s", p.Kind, printable(p.File))
	if p.Detail != "" {
		line += ": " + printable(p.Detail)
	}
	switch n := len(p.Snapshots); {
	case p.Kind == backup.DamagedSnapshot:
		line += "; nothing of it can be restored: delete it once a newer backup is complete"
	case p.Kind == backup.NewerSnapshot:
	case n == 1:
		line += "; in snapshot " + p.Snapshots[0]
	default:
		line += fmt.Sprintf("; in %d snapshots, %s to %s", n, p.Snapshots[0], p.Snapshots[n-1])
	}
	if p.SetAside {
		line += "; set aside"
	}
	return line
}

// printVerified prints the result for people. After a quick check nothing is known of the
// content of files.
func printVerified(out io.Writer, t backup.VerifyTotals, quick bool) error {
	complete, newest := 0, ""
	for _, s := range t.Snapshots {
		if s.Damaged == 0 {
			complete, newest = complete+1, s.Snapshot
			continue
		}
		fmt.Fprintf(out, "snapshot %s: %d damaged\n", s.Snapshot, s.Damaged) // the last line reports the error
	}
	result := "can be restored completely"
	if quick {
		result = "have all files (their content was not read)"
	}
	_, err := fmt.Fprintf(out, "%d sets, %d files checked (%s read): %d damaged, %d set aside; %d of %d snapshots %s, the newest is %s\n",
		t.Sets, t.Files, humanize.IBytes(uint64(t.Bytes)), t.Damaged, t.SetAside, complete, len(t.Snapshots), result, cmp.Or(newest, "none"))
	return err
}

// setAside counts damaged files that were set aside.
const setAside backup.Kind = "set_aside"

// repairAdvice says what to do about problems; found has the number of each kind.
func repairAdvice(found map[backup.Kind]int) (lines []string) {
	const copies = "the next 'optimizerd backup' copies them again, if storage.dir still has them"
	if found[backup.DamagedFile] > 0 {
		lines = append(lines, "damaged files: 'optimizerd backup verify --repair' sets them aside; then "+copies)
	}
	if found[backup.MissingFile]+found[setAside] > 0 {
		lines = append(lines, "files that are missing or set aside: "+copies)
	}
	if len(lines) > 0 {
		lines = append(lines, "a file that storage.dir no longer has is lost; 'optimizerd restore' restores the rest of its snapshots")
	}
	if found[backup.Unreadable] > 0 {
		lines = append(lines, "unreadable files may be sound: run this command as the user that makes the backups")
	}
	return lines
}

// progress shows how much of a backup is checked, with a bar for each stage on a terminal.
type progress struct {
	mu     sync.Mutex
	errOut io.Writer                // nil if nothing can be drawn on it
	bar    *progressbar.ProgressBar // of the stage
	stage  string
	began  time.Time // the stage
	drawn  time.Time
	done   int // of the stage
	sets   int // to check; 0 until they are known
}

func newProgress(errOut io.Writer) *progress {
	if !canDraw(errOut) {
		errOut = nil
	}
	return &progress{errOut: errOut}
}

// redrawTime is the shortest time between two states of a bar.
const redrawTime = 100 * time.Millisecond

// set shows the state of a stage; total is 0 if it is not known.
func (p *progress) set(stage string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	if stage == "sets" {
		p.sets = total
	}
	if p.errOut == nil {
		return
	}
	if stage != p.stage {
		p.clear()
		p.stage, p.began, p.drawn = stage, time.Now(), time.Time{}
		p.bar = newBar(p.errOut, max(total, 1))
	}
	if done == total && total > 0 || time.Since(p.drawn) < redrawTime {
		return
	}
	p.drawn = time.Now()
	_ = p.bar.Set(done) // an error of drawing does not matter
	p.bar.Describe(stage + ", " + describeTimes(time.Since(p.began), done, total))
}

// print prints lines in the place of the bar.
func (p *progress) print(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	f()
}

// end erases the bar.
func (p *progress) end() { p.print(func() {}) }

func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
