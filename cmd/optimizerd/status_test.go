package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
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
	if r.Images != 1 || r.Today.Completed != 1 || len(r.Jobs) != 1 || r.Parts["codec"].Status != "ready" || r.Disk.Total == 0 || len(r.Codec.Running) != 1 {
		t.Errorf("it says %+v", r)
	}
	stdout, _, exit = run(t, "status", "--set", "admin.listen="+address)
	for _, want := range []string{"today", "1 made from", "; 1 done, "} {
		if exit != 0 || !strings.Contains(stdout, want) {
			t.Errorf("status %d without %q\n%s", exit, want, stdout)
		}
	}
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.Wait()
	if _, stderr, exit := run(t, "status", "--address", address); exit != 1 || !strings.Contains(stderr, "is the daemon running?") {
		t.Errorf("without a daemon: status %d, %s", exit, stderr)
	}
}

// It goes on while the daemon is gone, and shows the next one.
func TestStatusWatchesOverARestart(t *testing.T) {
	data, address := t.TempDir(), servertest.FreeAddress(t)
	start := func() *server { return serve(t, data, "ladder.widths=32", "admin.listen="+address) }
	s := start()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "optimizerd"), "status", "--watch", "--json", "--address", address)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	// until reads lines up to one for which is returns true.
	until := func(what string, is func(line string) bool) {
		t.Helper()
		for lines.Scan() {
			if is(lines.Text()) {
				return
			}
		}
		t.Fatalf("it ended before %s", what)
	}
	images := func(n int) func(string) bool {
		return func(line string) bool {
			var r status.Report
			return json.Unmarshal([]byte(line), &r) == nil && r.Images == n
		}
	}
	until("the first report", images(0))
	_ = s.Process.Kill()
	_ = s.Wait() // its error is that it was killed
	until("the daemon was missed", func(line string) bool { return strings.Contains(line, "is the daemon running?") })
	s = start()
	s.optimize(t, smallPhoto(t, 1))
	until("the image was seen", images(1))
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stdout) // until it ends
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("interrupted, it ended with %v", cmd.ProcessState)
	}
}
