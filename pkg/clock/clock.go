// Package clock judges whether the wall clock is plausible. A board without a
// battery-backed clock starts in the past, and a mistyped date may be years
// ahead; code that deletes by age must not trust either.
package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/durable"
)

const (
	// maxLead is how far the clock may be ahead of what is known of the time
	// without being confirmed.
	maxLead = 24 * time.Hour
	// confirmAfter is how long a leap ahead must last to be believed, on a machine
	// without network time.
	confirmAfter = 24 * time.Hour
	// maxLag is how far a clock may be behind the newest set, whose time another
	// machine may have set.
	maxLag = time.Minute
	// recordEvery limits writes to the file: an SD card wears out.
	recordEvery = time.Hour
)

// Guard remembers the last time of day that was plausible, over restarts. It is
// safe for concurrent use.
type Guard struct {
	Now    func() time.Time     // the clock of the machine
	Uptime func() time.Duration // a clock that nobody can set
	Synced func() bool          // whether network time has set the clock
	Build  time.Time            // the clock cannot show less

	path string

	mu        sync.Mutex
	last      time.Time // the last plausible time; zero if unknown
	lastUp    time.Duration
	recorded  time.Time     // as in the file
	suspect   bool          // the clock has leapt ahead
	suspectUp time.Duration // when it was noticed
}

// Open returns a guard that keeps its record in the file at path, which need not
// exist.
func Open(path string, build time.Time) (*Guard, error) {
	start := time.Now()
	g := &Guard{
		Now: time.Now, Uptime: func() time.Duration { return time.Since(start) }, Synced: synced,
		Build: build, path: path,
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return g, nil
	case err != nil:
		return nil, fmt.Errorf("open clock record: %w", err)
	}
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b))); err == nil { // a damaged record is like none
		g.last, g.recorded = t, t
	}
	return g, nil
}

// synced reports whether the kernel considers its clock synchronized.
func synced() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}

// Check returns the time of day, or why it cannot be right: it is before the
// build or before newest, the time of the newest set (zero if there is none), or
// it has leapt ahead by more than a day, and neither network time nor a day of
// running has confirmed it.
func (g *Guard) Check(newest time.Time) (time.Time, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, up := g.Now(), g.Uptime()
	switch {
	case now.Before(g.Build):
		return now, fmt.Errorf("the clock shows %s, which is before this program was built (%s): set the clock", day(now), day(g.Build))
	case now.Before(newest.Add(-maxLag)):
		return now, fmt.Errorf("the clock shows %s, but the newest image is of %s: set the clock, or delete that image if its date is wrong", day(now), day(newest))
	}
	if g.last.IsZero() {
		g.last, g.lastUp = newest, up
	}
	expected := g.last.Add(up - g.lastUp)
	if ahead := now.Sub(expected); !g.last.IsZero() && ahead > maxLead && !g.Synced() {
		if !g.suspect {
			g.suspect, g.suspectUp = true, up
		}
		if up-g.suspectUp < confirmAfter {
			return now, fmt.Errorf("the clock shows %s, %d days after the last time it was right, and network time has not confirmed it: enable network time; "+
				"without it, this time is believed after %v of running", day(now), int(ahead/(24*time.Hour)), confirmAfter)
		}
	}
	g.suspect, g.last, g.lastUp = false, now, up
	g.record(now)
	return now, nil
}

// record writes the time to the file, unless that was done recently. An error is
// not reported: on a full disk retention must be able to make room.
func (g *Guard) record(now time.Time) {
	if since := now.Sub(g.recorded); since >= 0 && since < recordEvery {
		return
	}
	if durable.Write(g.path, []byte(now.UTC().Format(time.RFC3339)+"\n")) == nil {
		g.recorded = now
	}
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
