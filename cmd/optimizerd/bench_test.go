package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/tune"
)

func TestBenchMeasuresAndProposes(t *testing.T) {
	stdout, stderr, status := run(t, "bench", "--json", "--all", "--set", "ladder.widths=40", testdata(t)+"/test_smart_crop.jpg")
	var r tune.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || status != 0 || stderr != "" {
		t.Fatalf("status %d, %v\n%s%s", status, err, stdout, stderr)
	}
	if len(r.Images) != 1 || r.Images[0].Width != 300 || r.Images[0].Bytes != int64(len(read(t, testdata(t)+"/test_smart_crop.jpg"))) {
		t.Errorf("pictures: %+v", r.Images)
	}
	checkThroughput(t, r.Throughput)
	efforts := make(map[ladder.Format][]int)
	for _, e := range r.Efforts {
		if e.Bytes <= 0 {
			t.Errorf("effort: %+v", e)
		}
		efforts[e.Format] = append(efforts[e.Format], e.Effort)
	}
	all := map[ladder.Format][]int{ladder.WebP: {0, 1, 2, 3, 4, 5, 6}, ladder.JPEG: {0, 1}, ladder.AVIF: {0, 2, 3, 4, 5, 6, 7, 8}}
	if diff := cmp.Diff(all, efforts); diff != "" {
		t.Errorf("efforts (-want +got):\n%s", diff)
	}
	processes := r.Proposal.Processes
	if processes == 0 {
		processes = r.Automatic
	}
	if processes < 1 || r.Proposal.Threads < 1 {
		t.Errorf("proposal: %+v", r.Proposal)
	}
}

// checkThroughput checks that measurements begin with one process of one thread, and
// that each measured something.
func checkThroughput(t *testing.T, measured []tune.Throughput) {
	t.Helper()
	if len(measured) == 0 || measured[0].Processes != 1 || measured[0].Threads != 1 {
		t.Errorf("throughput: %+v", measured)
	}
	for _, p := range measured {
		if p.LaddersPerMinute <= 0 || p.CPUSeconds <= 0 || p.Peak < 10<<20 {
			t.Errorf("throughput: %+v", p)
		}
	}
}

func TestBenchEndsWithSettingsToPaste(t *testing.T) {
	stdout, stderr, status := run(t, "bench", "--set", "ladder.widths=40", testdata(t)+"/test_smart_crop.jpg")
	_, proposal, found := strings.Cut(stdout, "configuration file:\n\n")
	if status != 0 || stderr != "" || !found {
		t.Fatalf("status %d\n%s%s", status, stdout, stderr)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(proposal), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := config.Load(file, nil); err != nil || c.Codec.Threads < 1 {
		t.Errorf("%v in\n%s", err, proposal)
	}
}

func TestBenchNamesTheImageThatIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(file, []byte("no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{file, file + ".missing"} {
		stdout, stderr, status := run(t, "bench", bad)
		if status != 1 || !strings.Contains(stderr, bad) || stdout != "" {
			t.Errorf("%s: status %d, %q", bad, status, stderr)
		}
	}
}
