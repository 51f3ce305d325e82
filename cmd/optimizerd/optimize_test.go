package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// small makes the ladders of these tests cheap.
var small = []string{"--set", "ladder.widths=64", "--set", "ladder.formats=jpeg"}

// outcomes returns each line of JSON by its file's name in dir.
func outcomes(t *testing.T, dir, stdout string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	for line := range strings.Lines(stdout) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		name, err := filepath.Rel(dir, o.File)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = o.Status
		if o.Reason != "" {
			got[name] += ": " + o.Reason
		}
		if o.Error != nil {
			got[name] += " " + string(o.Error.Code) + ": " + o.Error.Message
		}
	}
	return got
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	b := read(t, path)
	b[len(b)/2] ^= 1
	put(t, path, b)
}

func TestOptimizeReportsEverythingInADirectory(t *testing.T) {
	in := t.TempDir()
	photo := read(t, testdata(t)+"/test.jpg")
	put(t, in+"/cat.jpg", photo)
	put(t, in+"/empty.jpg", nil)
	put(t, in+"/noise.JPEG", []byte("these are random bytes"))
	put(t, in+"/notes.txt", []byte("no image"))
	put(t, in+"/cat without a name", photo)
	put(t, in+"/out/of-before.jpg", photo)
	if err := os.Symlink(in+"/cat.jpg", in+"/link.jpg"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(in, in+"/loop"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(in+"/pipe.jpg", 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", in+"/socket.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	stdout, stderr, status := run(t, append([]string{"optimize", "-o", in + "/out", in}, small...)...)
	if status != 1 || stderr != "" {
		t.Errorf("status %d, %q; want 1 for the bad files", status, stderr)
	}
	want := map[string]string{
		"cat.jpg": "made", "cat without a name": "there",
		"empty.jpg":  "failed unsupported_format: The file is empty.",
		"noise.JPEG": "failed unsupported_format: The file is not an image in a supported format.",
		"notes.txt":  "skipped: not an image", "link.jpg": "skipped: symlink", "loop": "skipped: symlink",
		"pipe.jpg": "skipped: named pipe", "socket.jpg": "skipped: socket", "out": "skipped: output directory",
	}
	got := outcomes(t, in, stdout)
	if got["cat.jpg"] == "there" { // the two are equal, and work at the same time
		got["cat.jpg"], got["cat without a name"] = got["cat without a name"], got["cat.jpg"]
	}
	if got["cat without a name"] == "made" {
		got["cat without a name"] = "there"
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

func TestOptimizeFollowsASymlinkThatIsNamed(t *testing.T) {
	in, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	put(t, in+"/cat.jpg", read(t, testdata(t)+"/test.jpg"))
	if err := os.Symlink(in, link); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status := run(t, append([]string{"optimize", "-o", t.TempDir(), link}, small...)...)
	if got := outcomes(t, link, stdout); status != 0 || got["cat.jpg"] != "made" || len(got) != 1 {
		t.Errorf("status %d: %v %s", status, got, stderr)
	}
}

func TestOptimizeRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status := run(t, append([]string{"optimize", "-o", dir + "/out", pipe, "/dev/null"}, small...)...)
	got := outcomes(t, "/", stdout)
	if status != 1 || got[pipe[1:]] != "failed invalid_request: This is a named pipe, not a file." || got["dev/null"] != "failed invalid_request: This is a device, not a file." {
		t.Errorf("status %d: %v %s", status, got, stderr)
	}
}

// manyPhotos returns a directory with n photos of which no two are equal. Its name makes
// long lines of their outcomes.
func manyPhotos(t *testing.T, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50))
	photo := read(t, testdata(t)+"/test_exif_full.jpg")
	for i := range n {
		put(t, fmt.Sprintf("%s/photo-%02d.jpg", dir, i), append(photo[:len(photo):len(photo)], byte(i)))
	}
	return dir
}

var interruptedLine = regexp.MustCompile(`optimizerd: interrupted: (\d+) of 40 files done, (\d+) left; run the same command again to go on\n`)

func TestOptimizeSaysThatItWasInterrupted(t *testing.T) {
	in := manyPhotos(t, 40)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := exec.Command(filepath.Join(bin, "optimizerd"), append([]string{"optimize", "-o", t.TempDir(), in}, small...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Without room for the lines of all files, it is not done before they are read.
		if _, err := unix.FcntlInt(stdout.(*os.File).Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReaderSize(stdout, 16)
		first, err := lines.ReadString('\n') // now it works on the next ones
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(lines)
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its status is looked at below
		if status := cmd.ProcessState.ExitCode(); status != 130 {
			t.Errorf("%v: status %d, want 130", signal, status)
		}
		got := outcomes(t, in, first+string(rest))
		for name, status := range got {
			if status != "made" {
				t.Errorf("%v: %s: %s", signal, name, status)
			}
		}
		found := interruptedLine.FindStringSubmatch(stderr.String())
		if found == nil || found[0] != stderr.String() || found[1] != strconv.Itoa(len(got)) || found[2] != strconv.Itoa(40-len(got)) {
			t.Errorf("%v: %d files have a line, and it says %q", signal, len(got), stderr.String())
		}
	}
}

func TestErrorsOfTheCommandLineNameNoRequestAndNoLog(t *testing.T) {
	got := describe(errors.New("write /out/x: input/output error"))
	if got != "Internal error: write /out/x: input/output error" {
		t.Errorf("got %q", got)
	}
	if got := describe(fault.New(fault.CorruptImage, "Broken.")); got != "Broken." {
		t.Errorf("got %q", got)
	}
}

// onTerminal runs the program on a terminal of its own and returns the lines
// that its user sees at the end, and everything that was written.
func onTerminal(t *testing.T, args ...string) (lines []string, written string, status int) {
	t.Helper()
	controller, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer controller.Close()
	fd := int(controller.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 120}); err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "optimizerd"), args...)
	cmd.Stdout, cmd.Stderr = terminal, terminal
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if _, err := io.Copy(&b, controller); err != nil && !errors.Is(err, syscall.EIO) { // EIO: nobody has it open
		t.Fatal(err)
	}
	_ = cmd.Wait() // its status is returned
	for line := range strings.Lines(strings.ReplaceAll(b.String(), "\r\n", "\n")) {
		line = strings.TrimSuffix(line, "\n")
		line = line[strings.LastIndex(line, "\x1b[2K")+1:]
		line = line[strings.LastIndexByte(line, '\r')+1:]
		lines = append(lines, strings.TrimPrefix(line, "[2K"))
	}
	return lines, b.String(), cmd.ProcessState.ExitCode()
}

func TestOptimizeOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	in := t.TempDir()
	put(t, in+"/cat.jpg", read(t, testdata(t)+"/test.jpg"))
	put(t, in+"/cat.png", read(t, testdata(t)+"/test.png"))
	put(t, in+"/empty.jpg", nil)
	put(t, in+"/notes\x1b.txt", nil)
	lines, written, status := onTerminal(t, append([]string{"optimize", "-o", t.TempDir(), in}, small...)...)
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	if len(lines) != 5 {
		t.Fatalf("there are %d lines\n%q", len(lines), lines)
	}
	for _, want := range []string{
		`^made     ` + in + `/cat.jpg → [0-9a-z_-]{10,}$`,
		`^made     ` + in + `/cat.png → [0-9a-z_-]{10,}$`,
		`^failed   ` + in + `/empty.jpg: The file is empty.$`,
		`^skipped  "` + in + `/notes\\x1b.txt": not an image$`,
		`^2 made, 0 there already, 1 failed, 1 skipped: .* in, .* out$`,
	} {
		found := 0
		for _, line := range lines {
			if regexp.MustCompile(want).MatchString(line) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d lines are %s, want 1\n%q", found, want, lines)
		}
	}
	if !strings.Contains(lines[4], "2 made") {
		t.Errorf("the summary is not last: %q", lines)
	}
	for _, want := range []string{"elapsed", "about", " left: ", "cat.jpg", "(1/4)"} {
		if !strings.Contains(written, want) {
			t.Errorf("the bar has no %q in %q", want, written)
		}
	}
}
