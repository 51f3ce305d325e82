package clock_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/clock"
)

var (
	build  = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	newest = time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
)

// machine has a clock that can be set, and one that cannot.
type machine struct {
	now    time.Time
	up     time.Duration
	synced bool
}

func (m *machine) pass(d time.Duration) { m.now, m.up = m.now.Add(d), m.up+d }

// start is a start of the daemon on the machine.
func (m *machine) start(t *testing.T, path string) *clock.Guard {
	t.Helper()
	g, err := clock.Open(path, build)
	if err != nil {
		t.Fatal(err)
	}
	g.Now = func() time.Time { return m.now }
	g.Uptime = func() time.Duration { return m.up }
	g.Synced = func() bool { return m.synced }
	return g
}

func refused(t *testing.T, g *clock.Guard, because string) {
	t.Helper()
	if at, err := g.Check(newest); err == nil || !strings.Contains(err.Error(), because) {
		t.Errorf("%v is accepted (%v); want %q", at, err, because)
	}
}

func accepted(t *testing.T, g *clock.Guard) {
	t.Helper()
	if at, err := g.Check(newest); err != nil {
		t.Errorf("%v: %v", at, err)
	}
}

func TestClockInThePastIsRefused(t *testing.T) {
	m := &machine{now: time.Unix(0, 0)}
	g := m.start(t, filepath.Join(t.TempDir(), "clock"))
	refused(t, g, "before this program was built")
	m.now = newest.Add(-time.Hour)
	refused(t, g, "newest image is of 2026-11-21 20:00 UTC")
	m.now = newest.Add(time.Hour) // as network time sets it
	accepted(t, g)
}

func TestLeapAheadIsRefusedUntilItIsConfirmed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	m := &machine{now: newest.Add(time.Hour)}
	g := m.start(t, path)
	accepted(t, g)
	right := m.now
	m.now = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	refused(t, g, "network time has not confirmed it")
	g = m.start(t, path) // a restart does not confirm it
	refused(t, g, "network time has not confirmed it")
	m.now = right
	accepted(t, g)

	m.now = right.AddDate(0, 2, 0) // it was off for two months
	refused(t, g, "network time has not confirmed it")
	m.pass(23 * time.Hour)
	refused(t, g, "network time has not confirmed it")
	m.pass(2 * time.Hour)
	accepted(t, g)

	m.now = m.now.AddDate(1, 0, 0)
	m.synced = true
	accepted(t, g)
}

func TestFirstStartGoesByTheNewestSet(t *testing.T) {
	m := &machine{now: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)}
	refused(t, m.start(t, filepath.Join(t.TempDir(), "clock")), "network time has not confirmed it")
	g := m.start(t, filepath.Join(t.TempDir(), "clock"))
	if _, err := g.Check(time.Time{}); err != nil { // nothing is there that could be deleted
		t.Error(err)
	}
}

func TestClockAfterHoursWithoutARunHasNotLeapt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	m := &machine{now: newest.Add(time.Hour)}
	accepted(t, m.start(t, path))
	for range 30 { // it is on every evening
		m.now, m.up = m.now.Add(23*time.Hour), 0
		accepted(t, m.start(t, path))
	}
}
