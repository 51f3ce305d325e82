package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/servertest"
)

// interruptAfter runs the program and interrupts it after so many lines; on a fast
// machine it may have ended.
func interruptAfter(t *testing.T, n int, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "optimizerd"), args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); n-- {
		if n == 1 {
			_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		}
	}
	_ = cmd.Wait() // its error is that it was interrupted
}

// changedLadder is a daemon whose ladder has changed since its sets were made.
type changedLadder struct {
	*server
	data string
	lost string          // a set whose original is not kept
	old  map[string]bool // the other sets
}

func startChangedLadder(t *testing.T, photos int) *changedLadder {
	t.Helper()
	d := &changedLadder{data: t.TempDir(), old: make(map[string]bool)}
	d.restart(t, "ladder.widths=32")
	d.lost = d.optimize(t, smallPhoto(t, 500)).ID
	d.restart(t, "ladder.widths=32", "storage.keep_originals=true")
	for _, m := range d.optimizePhotos(t, photos) {
		d.old[m.ID] = true
	}
	d.restart(t, "ladder.widths=16,48", "storage.keep_originals=true")
	return d
}

func (d *changedLadder) restart(t *testing.T, sets ...string) {
	t.Helper()
	if d.server != nil {
		d.kill(t)
	}
	d.server = serve(t, d.data, sets...)
}

func (d *changedLadder) list(t *testing.T) []client.Set {
	t.Helper()
	stdout, _, _ := run(t, "images", "list", "--json", "--limit", "1000", "--to", d.url)
	return decodeLines[client.Set](t, stdout)
}

// goOn regenerates what is left, and returns the successor of each set.
func (d *changedLadder) goOn(t *testing.T) (successors map[string]string) {
	t.Helper()
	out, stderr, status := run(t, "regenerate", "--all", "--to", d.url)
	counts, _ := statuses(t, out)
	if status != 0 || counts["skipped"] != 1 || counts["failed"] != 0 || !strings.Contains(out, "original is not kept") {
		t.Errorf("status %d, %v: %s", status, counts, stderr)
	}
	successors = make(map[string]string)
	for _, o := range decodeLines[outcome](t, out) {
		if o.Replaces != "" {
			successors[o.Replaces] = o.ID
		}
	}
	return successors
}

// checkPruned checks that the successors and the lost set are left.
func (d *changedLadder) checkPruned(t *testing.T, successors map[string]string) {
	t.Helper()
	left := d.list(t)
	if len(left) != len(d.old)+1 {
		t.Errorf("%d sets are left, want %d", len(left), len(d.old)+1)
	}
	for _, m := range left {
		if m.ID != d.lost && (d.old[m.ID] || !d.old[m.Replaces] || successors[m.Replaces] != m.ID) {
			t.Errorf("%s replaces %q", m.ID, m.Replaces)
		}
	}
}

func TestRegenerateSaysThatTheDaemonIsAway(t *testing.T) {
	away := "http://" + servertest.FreeAddress(t)
	says(t, 1, away+" cannot be reached", "regenerate", "--to", away, "k3v5qaz2w4hn6mtrxj7elbopdu")
}

func TestRegenerateGoesOnAfterCtrlCAndPrunesWhatIsReplaced(t *testing.T) {
	const photos = 12
	d := startChangedLadder(t, photos)
	_, stderr, status := run(t, "regenerate", "--all", "--dry-run", "--to", d.url)
	if status != 0 || !strings.Contains(stderr, "13 images") || !strings.Contains(stderr, "by the median of") {
		t.Errorf("estimate: status %d: %s", status, stderr)
	}

	interruptAfter(t, 4, "regenerate", "--all", "--to", d.url)
	successors := d.goOn(t)
	if len(successors) != photos {
		t.Errorf("%d sets are replaced, want %d: %v", len(successors), photos, successors)
	}
	if n := len(d.list(t)); n != 2*photos+1 {
		t.Errorf("%d sets, want each old and new one once, and the one without an original", n)
	}

	out, stderr, status := run(t, "regenerate", "--all", "--prune", "--to", d.url)
	if status != 0 || strings.Count(out, `"deleted":true`) != photos {
		t.Errorf("prune: status %d: %s%s", status, out, stderr)
	}
	d.checkPruned(t, successors)
	if stdout, stderr, status := run(t, "verify", "--set", "storage.dir="+d.data); status != 0 || !strings.Contains(stdout, "12 originals") {
		t.Errorf("verify: status %d\n%s%s", status, stdout, stderr)
	}
}

func TestRegeneratePrunesNothingThatHasNoOriginalAfterwards(t *testing.T) {
	d := startChangedLadder(t, 1)
	d.restart(t, "ladder.widths=24,64") // without keep_originals
	for id := range d.old {
		out, _, status := run(t, "regenerate", id, "--prune", "--to", d.url)
		if status != 1 || !strings.Contains(out, "was not deleted") || len(d.list(t)) != 3 {
			t.Errorf("status %d: %s", status, out)
		}
	}
}
