package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/servertest"
	"github.com/optimizerd/optimizerd/pkg/status"
)

func TestStatusSaysWhatTheDaemonDid(t *testing.T) {
	address := servertest.FreeAddress(t)
	s := serve(t, t.TempDir(), "ladder.widths=64", "admin.listen="+address)
	s.optimize(t, read(t, filepath.Join(testdata(t), "test_icc_prophoto.jpg")))
	stdout, stderr, exit := run(t, "status", "--json", "--address", address)
	var r status.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || exit != 0 {
		t.Fatalf("status %d, %v\n%s%s", exit, err, stdout, stderr)
	}
	if r.Images != 1 || r.Today.Completed != 1 || len(r.Jobs) != 1 || r.Parts["codec"].Status != "ready" || r.Disk.Total == 0 {
		t.Errorf("it says %+v", r)
	}
	stdout, _, exit = run(t, "status", "--set", "admin.listen="+address)
	if exit != 0 || !strings.Contains(stdout, "today") || !strings.Contains(stdout, "1 made from") {
		t.Errorf("status %d\n%s", exit, stdout)
	}
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.Wait()
	if _, stderr, exit := run(t, "status", "--address", address); exit != 1 || !strings.Contains(stderr, "is the daemon running?") {
		t.Errorf("without a daemon: status %d, %s", exit, stderr)
	}
}
