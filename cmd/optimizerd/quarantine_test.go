package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// runQuarantine runs the command for a data directory.
func runQuarantine(t *testing.T, dir string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return run(t, append([]string{"quarantine", "--set", "storage.dir=" + dir}, args...)...)
}

// addThree adds three images to the quarantine of a data directory. The digests of
// the first two begin alike.
func addThree(t *testing.T, dir string) (store *quarantine.Store, digests []string) {
	t.Helper()
	store, err := quarantine.Open(filepath.Join(dir, quarantine.Folder), "8.14.1")
	if err != nil {
		t.Fatal(err)
	}
	digests = []string{strings.Repeat("a", 64), strings.Repeat("a", 63) + "b", strings.Repeat("c", 64)}
	for i, digest := range digests {
		err := store.Add(quarantine.Entry{
			SHA256: digest, Filename: "cat\x1b[2J\n.jpg", Bytes: 2048, Reason: "it ran longer than 1m0s",
			At: strictjson.At(time.Date(2026, 2, 3, 4, i, 0, 0, time.UTC)),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return store, digests
}

func TestQuarantineIsListed(t *testing.T) {
	dir := t.TempDir()
	stdout, stderr, status := runQuarantine(t, dir, "list")
	if status != 0 || stdout != "no image is in quarantine\n" {
		t.Errorf("empty: status %d\n%s%s", status, stdout, stderr)
	}
	if stdout, _, _ := runQuarantine(t, dir, "list", "--json"); stdout != "[]\n" {
		t.Errorf("empty: %s", stdout)
	}

	_, digests := addThree(t, dir)
	const want = `SHA256        AT                LIBVIPS  BYTES    FILE                REASON
cccccccccccc  2026-02-03 04:02  8.14.1   2.0 KiB  "cat\x1b[2J\n.jpg"  it ran longer than 1m0s
aaaaaaaaaaaa  2026-02-03 04:01  8.14.1   2.0 KiB  "cat\x1b[2J\n.jpg"  it ran longer than 1m0s
aaaaaaaaaaaa  2026-02-03 04:00  8.14.1   2.0 KiB  "cat\x1b[2J\n.jpg"  it ran longer than 1m0s
`
	stdout, _, _ = runQuarantine(t, dir, "list")
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Errorf("the list differs (-want +got):\n%s", diff)
	}
	var entries []quarantine.Entry
	stdout, _, _ = runQuarantine(t, dir, "list", "--json")
	if err := json.Unmarshal([]byte(stdout), &entries); err != nil || len(entries) != 3 || entries[1].SHA256 != digests[1] {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestQuarantineIsCleared(t *testing.T) {
	dir := t.TempDir()
	store, digests := addThree(t, dir)
	for _, test := range []struct {
		args []string
		says string
		left int // -1: it fails, and all stay
	}{
		{nil, "--all", -1},
		{[]string{"--all", digests[0]}, "--all", -1},
		{[]string{"ccccccc"}, "too short", -1},
		{[]string{"cccccccc", "dddddddd"}, `"dddddddd" is not in quarantine; nothing was cleared`, -1},
		{[]string{"aaaaaaaaaaaa"}, "matches 2 digests", -1},
		{[]string{digests[1], "CCCCCCCCCCCC"}, "cleared: 2\n", 1},
		{[]string{"--all"}, "cleared: 1\n", 0},
		{[]string{"--all"}, "cleared: 0\n", 0},
	} {
		stdout, stderr, status := runQuarantine(t, dir, append([]string{"clear"}, test.args...)...)
		wantLeft, wantStatus := test.left, 0
		if test.left < 0 {
			wantLeft, wantStatus = 3, 1
		}
		if status != wantStatus || !strings.Contains(stdout+stderr, test.says) {
			t.Errorf("%.12q: status %d, %s%s", test.args, status, stdout, stderr)
		}
		if left, err := store.List(); err != nil || len(left) != wantLeft {
			t.Errorf("%.12q: %d are left, %v; want %d", test.args, len(left), err, wantLeft)
		}
	}
}
