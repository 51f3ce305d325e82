package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/servertest"
	"github.com/optimizerd/optimizerd/pkg/status"
)

// storedSets is how many sets the daemon has; 100000 take minutes to make.
var storedSets = flag.Int("sets", 300, "sets that TestStatusAndVerifyWithManySets stores")

// sevenWidths gives a small photo as many files as a large one has by default.
const sevenWidths = "ladder.widths=8,16,24,32,48,64,80"

// copySets makes n sets like m in a directory of sets. Few are files of their own: a
// file has not more than some 65000 links.
func copySets(t *testing.T, files string, m manifest.Manifest, n int) {
	t.Helper()
	content := read(t, filepath.Join(files, m.ID, "manifest.json"))
	from := m.ID
	for i := range n {
		id := ladder.ID([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i))), [32]byte{})
		dir := filepath.Join(files, id)
		err := os.Mkdir(dir, 0o755)
		for _, v := range m.Variants {
			old, added := filepath.Join(files, from, v.Name()), filepath.Join(dir, v.Name())
			if i%10000 == 0 {
				err = errors.Join(err, os.WriteFile(added, read(t, old), 0o600))
			} else {
				err = errors.Join(err, os.Link(old, added))
			}
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "manifest.json"), bytes.ReplaceAll(content, []byte(m.ID), []byte(id)), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		if i%10000 == 0 {
			from = id
		}
	}
}

// timed runs the program and returns its output, and how long it took: on the clock,
// and of the processor.
func timed(t *testing.T, args ...string) (stdout []byte, took, cpu time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "optimizerd"), args...)
	cmd.Stderr = os.Stderr
	began := time.Now()
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stdout)
	}
	return stdout, time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func TestStatusAndVerifyWithManySets(t *testing.T) {
	n, data, address := *storedSets, t.TempDir(), servertest.FreeAddress(t)
	s := serve(t, data, sevenWidths)
	m := s.optimize(t, smallPhoto(t, 1))
	s.kill(t)
	copySets(t, filepath.Join(data, "files"), m, n-1)
	figure(t, "sets, files of each", "%d, %d", n, len(m.Variants)+1)
	for _, start := range []string{"after a kill", "after a stop"} { // which leaves an index
		began := time.Now()
		s = serve(t, data, sevenWidths, "admin.listen="+address)
		figure(t, "from exec to ready "+start, "%v", rounded(time.Since(began)))
		if start == "after a kill" {
			if err := s.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			_ = s.Wait() // the next start says whether it stopped
		}
	}
	var times, cpus []time.Duration
	for range 11 {
		stdout, took, cpu := timed(t, "status", "--json", "--address", address)
		var r status.Report
		if err := json.Unmarshal(stdout, &r); err != nil || r.Images != n {
			t.Fatalf("status has %d images (%v), want %d", r.Images, err, n)
		}
		times, cpus = append(times, took), append(cpus, cpu)
	}
	slices.Sort(times)
	slices.Sort(cpus)
	figure(t, "status: median, worst; median of its CPU time", "%v, %v; %v", rounded(times[5]), rounded(times[10]), rounded(cpus[5]))
	for range 2 {
		stdout, took, cpu := timed(t, "verify", "--quick", "--set", "storage.dir="+data)
		if want := fmt.Sprintf("%d sets, ", n); !bytes.Contains(stdout, []byte(want)) || !bytes.Contains(stdout, []byte(": 0 damaged, ")) {
			t.Fatalf("verify --quick says %s, want %s", stdout, want)
		}
		figure(t, "verify --quick; its CPU time", "%v; %v", rounded(took), rounded(cpu))
	}
}
