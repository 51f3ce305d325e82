package tune_test

import (
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/tune"
)

func TestFastestSetupIsProposed(t *testing.T) {
	for name, tc := range map[string]struct {
		measured           []tune.Throughput
		processes, threads int
	}{
		"by far": {[]tune.Throughput{
			{Processes: 1, Threads: 1, LaddersPerMinute: 10}, {Processes: 1, Threads: 4, LaddersPerMinute: 25}, {Processes: 2, Threads: 4, LaddersPerMinute: 33},
		}, 2, 4},
		"more processes for hardly more": {[]tune.Throughput{
			{Processes: 1, Threads: 4, LaddersPerMinute: 30}, {Processes: 4, Threads: 1, LaddersPerMinute: 31},
		}, 1, 4},
		"one core": {[]tune.Throughput{{Processes: 1, Threads: 1, LaddersPerMinute: 3}}, 1, 1},
	} {
		p := tune.Propose(tune.Report{Throughput: tc.measured}, tune.Reserved{})
		if p.Processes != tc.processes || p.Threads != tc.threads {
			t.Errorf("%s: %d processes of %d threads, want %d of %d", name, p.Processes, p.Threads, tc.processes, tc.threads)
		}
	}
}

func TestAutomaticNumberOfProcessesIsProposedAsSuch(t *testing.T) {
	r := tune.Report{Automatic: 2, Throughput: []tune.Throughput{{Processes: 2, Threads: 4, LaddersPerMinute: 1}}}
	if p := tune.Propose(r, tune.Reserved{}); p.Processes != 0 || !strings.Contains(p.YAML(), "processes: 0\n") {
		t.Errorf("%d processes are proposed:\n%s", p.Processes, p.YAML())
	}
	r.Automatic = 1
	if p := tune.Propose(r, tune.Reserved{}); p.Processes != 2 {
		t.Errorf("%d processes are proposed, want 2", p.Processes)
	}
}

func TestProposedMemoryLeavesTheRestOfTheBoardAlive(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		board           string
		memory          int64
		processes, want int64
	}{
		{"512 MB", 430 * mib, 1, 128 * mib},
		{"1 GB", 906 * mib, 1, 384 * mib},
		{"2 GB", 1848 * mib, 2, 480 * mib},
		{"4 GB", 3790 * mib, 2, 1024 * mib},
		{"8 GB", 7900 * mib, 2, 1024 * mib},
		{"unknown", 0, 1, 0},
	} {
		r := tune.Report{Memory: tc.memory, Throughput: []tune.Throughput{{Processes: int(tc.processes), Threads: 4, LaddersPerMinute: 1}}}
		if got := tune.Propose(r, tune.Reserved{Daemon: config.DaemonMemory, Child: config.ChildSlack}).MaxMemory; got != tc.want {
			t.Errorf("%s: %d MiB, want %d", tc.board, got/mib, tc.want/mib)
		}
	}
}

// The figures are those of a 12 MP photo on x86-64.
func TestEffortIsProposedWhoseBytesAreWorthItsTime(t *testing.T) {
	p := tune.Propose(tune.Report{
		Throughput: []tune.Throughput{{Processes: 1, Threads: 1, LaddersPerMinute: 1}},
		Efforts: []tune.Effort{
			{Format: ladder.WebP, Effort: 0, CPUSeconds: 0.66, Bytes: 1_266_210},
			{Format: ladder.WebP, Effort: 2, CPUSeconds: 0.80, Bytes: 1_064_710},
			{Format: ladder.WebP, Effort: 4, CPUSeconds: 1.24, Bytes: 1_029_442},
			{Format: ladder.WebP, Effort: 6, CPUSeconds: 2.08, Bytes: 999_766},
			{Format: ladder.AVIF, Effort: 0, CPUSeconds: 0.95, Bytes: 861_861},
			{Format: ladder.AVIF, Effort: 2, TooSlow: true},
		},
	}, tune.Reserved{})
	if p.Effort[ladder.WebP] != 2 || p.Effort[ladder.AVIF] != 0 {
		t.Errorf("got %v", p.Effort)
	}
}

func TestProposalIsAPieceOfTheConfiguration(t *testing.T) {
	p := tune.Proposal{Processes: 2, Threads: 4, MaxMemory: 384 << 20, Effort: map[ladder.Format]int{ladder.WebP: 3, ladder.JPEG: 0, ladder.AVIF: 2}}
	c, err := load(t, p.YAML())
	if err != nil {
		t.Fatalf("%v in\n%s", err, p.YAML())
	}
	if c.Codec.Processes != 2 || c.Codec.Threads != 4 || c.Limits.MaxMemory != 384<<20 || c.Ladder.Effort != (ladder.Effort{WebP: 3, AVIF: 2}) {
		t.Errorf("got %+v", c)
	}
	if unknown := (tune.Proposal{Processes: 1, Threads: 1}).YAML(); strings.Contains(unknown, "limits") || strings.Contains(unknown, "ladder") {
		t.Errorf("it proposes what it does not know:\n%s", unknown)
	}
}

func load(t *testing.T, yaml string) (config.Config, error) {
	t.Helper()
	file := t.TempDir() + "/config.yaml"
	write(t, file, yaml)
	return config.Load(file, nil)
}
