package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// onSmallDisk runs a shell script with a disk of 64 KiB, $disk: mounted by root, and by
// others in a name space of their own. "$@" in it is the program with args. It returns
// what the script printed.
func onSmallDisk(t *testing.T, script string, args ...string) (stdout, stderr string) {
	t.Helper()
	const hint = "these tests fill a disk of their own: run them as root with the right to mount, or as a user who may make name spaces"
	disk := t.TempDir()
	shell := []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", `mount -t tmpfs -o size=64k none "$disk"; ` + script}
	if os.Geteuid() == 0 {
		shell = []string{"sh", "-euc", script}
		if err := syscall.Mount("optimizerd-test", disk, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatalf("mount a small tmpfs: %v: %s", err, hint)
		}
		t.Cleanup(func() { await(t, "the disk can be unmounted", func() bool { return syscall.Unmount(disk, 0) == nil }) })
	}
	shell = append(shell, "sh", filepath.Join(bin, "optimizerd"))
	cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:], args...)...)
	cmd.Env = append(os.Environ(), "disk="+disk)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s (%s)", err, errOut.String(), hint)
	}
	return out.String(), errOut.String()
}

// fillDisk leaves no space on $disk; exitPrinted prints the exit status of a command.
const (
	fillDisk    = `cat /dev/zero >"$disk/.filler" 2>/dev/null || true; `
	exitPrinted = `&& echo "status 0" || echo "status $?"; `
)

func TestUploadOnAFullDiskArrivesAndSaysWhatIsNotRemembered(t *testing.T) {
	const photos = 5
	s := serve(t, t.TempDir(), "ladder.widths=32")
	in := smallPhotos(t, photos)
	stdout, stderr := onSmallDisk(t, fillDisk+`"$@" --journal "$disk/journal" `+exitPrinted+`rm "$disk/.filler"; "$@" --journal "$disk/journal" `+exitPrinted, "upload", in, "--to", s.url)
	first, second, ok := strings.Cut(stdout, "status 1\n")
	if counts, images := statuses(t, first); !ok || counts["made"] != photos || len(images) != photos {
		t.Errorf("with a full disk: %s%s", stdout, stderr)
	}
	if n := strings.Count(stderr, "cannot write the journal"); n != 1 || !strings.Contains(stderr, "no space left on device") || !strings.Contains(stderr, "the journal lacks") {
		t.Errorf("it says %d times: %s", n, stderr)
	}
	second, ok = strings.CutSuffix(second, "status 0\n")
	if counts, _ := statuses(t, second); !ok || counts["there"] != photos {
		t.Errorf("with space again: %s", second)
	}
}

func TestUploadWhoseReportFindsNoSpaceStillArrives(t *testing.T) {
	s := serve(t, t.TempDir(), "ladder.widths=32")
	in, journal := smallPhotos(t, 5), filepath.Join(t.TempDir(), "journal")
	stdout, stderr := onSmallDisk(t, fillDisk+`"$@" >"$disk/report" `+exitPrinted, "upload", in, "--to", s.url, "--journal", journal)
	if stdout != "status 1\n" || strings.Count(stderr, "no space left on device") != 1 || !strings.Contains(stderr, "the report is incomplete") {
		t.Errorf("%s%s", stdout, stderr)
	}
	again, _, status := run(t, "upload", in, "--to", s.url, "--journal", journal)
	if counts, _ := statuses(t, again); status != 0 || counts["there"] != 5 {
		t.Errorf("afterwards: status %d, %v", status, counts)
	}
}

func TestImportWithoutSpaceForDownloadsNamesTMPDIR(t *testing.T) {
	from := startStandInImages(t, 2)
	s := serve(t, t.TempDir(), "ladder.widths=32")
	args := from.args(t, s.url, filepath.Join(t.TempDir(), "journal"))
	stdout, stderr := onSmallDisk(t, `export TMPDIR="$disk"; `+fillDisk+`"$@" `+exitPrinted+`rm "$disk/.filler"; "$@" `+exitPrinted, args...)
	first, second, ok := strings.Cut(stdout, "status 1\n")
	if counts, _ := statuses(t, first); !ok || counts["failed"] != 2 || strings.Count(first, "insufficient_storage") != 2 || !strings.Contains(first, "Set TMPDIR") {
		t.Errorf("with a full disk: %s%s", stdout, stderr)
	}
	second, ok = strings.CutSuffix(second, "status 0\n")
	if counts, _ := statuses(t, second); !ok || counts["made"] != 2 {
		t.Errorf("with space again: %s", second)
	}
}

func TestWatchOnAFullDiskWritesResultsWhenThereIsSpace(t *testing.T) {
	s := serve(t, t.TempDir(), "ladder.widths=32")
	in := smallPhotos(t, 1)
	// The watch is interrupted when the file has its results. Its report is not on the disk.
	script := `cp "$photos"/* "$disk/"; ` + fillDisk + `"$@" "$disk" --results beside --every 1s --settle 0s >"$photos/report" & watch=$!
until grep -q insufficient_storage "$photos/report"; do sleep 0.1; done
rm "$disk/.filler"
until grep -q '"there"' "$photos/report"; do sleep 0.1; done
[ -s "$disk/0000.jpg.optimized/manifest.json" ]
kill -INT $watch; wait $watch ` + exitPrinted
	t.Setenv("photos", in)
	stdout, stderr := onSmallDisk(t, script, "watch", "--to", s.url, "--journal", filepath.Join(t.TempDir(), "journal"))
	if stdout != "status 130\n" {
		t.Errorf("%s%s", stdout, stderr)
	}
	outcomes := decodeLines[outcome](t, string(read(t, filepath.Join(in, "report"))))
	for i, o := range outcomes {
		if done := i == len(outcomes)-1; done != (o.Status == "there") || done != (o.Error == nil) {
			t.Errorf("outcome %d of %d is %+v", i+1, len(outcomes), o)
		}
	}
}
