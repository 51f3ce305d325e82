package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// bin holds both binaries, as they are installed.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "optimizerd-test-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		var builds errgroup.Group
		for name, cgo := range map[string]string{"optimizerd": "0", "optimizerd-codec": "1"} {
			build := exec.Command("go", "build", "-o", filepath.Join(bin, name), module+"cmd/"+name)
			build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
			builds.Go(func() error {
				if out, err := build.CombinedOutput(); err != nil {
					return fmt.Errorf("build %s: %w\n%s\n'make deps' installs what it needs", name, err, out)
				}
				return nil
			})
		}
		if err := builds.Wait(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

var findTestdata = sync.OnceValues(func() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/h2non/bimg").Output()
	return filepath.Join(strings.TrimSpace(string(dir)), "testdata"), err
})

// testdata is the directory of bimg's real photos.
func testdata(t *testing.T) string {
	t.Helper()
	dir, err := findTestdata()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return dir
}

// await polls a condition that another process will meet. Its limit only keeps
// a failure from hanging.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(5 * time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs the program to its end and returns what it printed.
func run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "optimizerd"), args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// says runs the program to its end, checks its exit status and that it prints a text,
// and returns its output.
func says(t *testing.T, status int, text string, args ...string) (stdout string) {
	t.Helper()
	stdout, stderr, got := run(t, args...)
	if got != status || !strings.Contains(stdout+stderr, text) {
		t.Errorf("%v: status %d, want %d, and %q in:\n%s%s", args, got, status, text, stdout, stderr)
	}
	return stdout
}

// server is a daemon in a process of its own.
type server struct {
	*exec.Cmd
	url string
	log bytes.Buffer // to be read after Wait
}

func serve(t *testing.T, dir string, sets ...string) *server {
	t.Helper()
	args := []string{"serve", "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=", "--set", "storage.dir=" + dir}
	for _, set := range sets {
		args = append(args, "--set", set)
	}
	s := &server{Cmd: exec.Command(filepath.Join(bin, "optimizerd"), args...)}
	s.Stderr = &s.log
	stdout, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Process.Kill() // most have ended by then
		_ = s.Wait()
		if t.Failed() {
			t.Logf("the daemon wrote:\n%s", s.log.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the daemon did not say where it listens: %v", err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !ok || !strings.HasPrefix(url, "http://127.") {
		t.Fatalf("its first line is %q", line)
	}
	s.url = url
	return s
}

// kill ends the daemon as a power cut would, and waits for its children, which
// the kernel kills with it.
func (s *server) kill(t *testing.T) {
	t.Helper()
	_ = s.Process.Kill() // it may have stopped already
	_ = s.Wait()         // its error is that it was killed
	await(t, "the children end with their daemon", func() bool { return len(leftovers(t)) == 0 })
}

// do sends a request and decodes the JSON of the answer into v.
func (s *server) do(t *testing.T, method, path string, body []byte, header map[string]string, v any) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range header {
		r.Header.Set(key, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s %s: %s: %s", method, path, answer.Status, b)
	}
	return answer
}

// optimize uploads an image and returns its manifest, however long that takes.
func (s *server) optimize(t *testing.T, source []byte) manifest.Manifest {
	t.Helper()
	var accepted jobAnswer
	if r := s.do(t, http.MethodPost, "/v1/images", source, map[string]string{"Prefer": "respond-async"}, &accepted); r.StatusCode != http.StatusAccepted {
		t.Fatalf("upload: %s", r.Status)
	}
	j := s.end(t, accepted.ID)
	if j.Status != "completed" {
		t.Fatalf("the job is %s", j.Status)
	}
	return j.Output.Manifest
}

// end waits for the end of a job.
func (s *server) end(t *testing.T, id string) jobAnswer {
	t.Helper()
	j := jobAnswer{Status: "pending"}
	for j.Status == "pending" || j.Status == "processing" {
		j = jobAnswer{}
		s.do(t, http.MethodGet, "/jobs/"+id, nil, map[string]string{"Prefer": "wait=20"}, &j)
	}
	return j
}

type jobAnswer struct {
	ID     string
	Status string
	Output struct{ Manifest manifest.Manifest }
}

// checkFiles holds every file of a set on disk against its manifest.
func checkFiles(t *testing.T, files string, m manifest.Manifest) {
	t.Helper()
	if len(m.Variants) == 0 {
		t.Errorf("%s has no variants", m.ID)
	}
	for _, v := range m.Variants {
		digest := sha256.Sum256(read(t, filepath.Join(files, v.Key)))
		if hex.EncodeToString(digest[:]) != v.SHA256 {
			t.Errorf("%s has another digest than its manifest says", v.Key)
		}
	}
}

func TestServeDrainsOnSIGTERM(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "ladder.widths=64,320")
	m := s.optimize(t, read(t, testdata(t)+"/test.jpg"))
	checkFiles(t, dir+"/files", m)
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Errorf("it ended with %v, want status 0", err)
	}
}

func TestKilledDaemonLosesNothingThatItAccepted(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "ladder.widths=64,320", "codec.processes=1")
	s.stopCodecs(t)
	picture := read(t, testdata(t)+"/test.jpg")
	var accepted []string
	for i := range 6 {
		var j jobAnswer
		other := append(slices.Clone(picture), byte(i)) // the same pixels, another source
		answer := s.do(t, "POST", "/v1/images", other, map[string]string{"Prefer": "respond-async"}, &j)
		if answer.StatusCode != http.StatusAccepted {
			t.Fatalf("upload %d: %s", i, answer.Status)
		}
		accepted = append(accepted, j.ID)
	}
	s.kill(t)

	serve(t, dir).completes(t, dir, accepted)
}

// stopCodecs stops the codec processes that are there, so that a daemon with
// one (codec.processes=1) ends no job.
func (s *server) stopCodecs(t *testing.T) {
	t.Helper()
	for _, pid := range codecs(t, s.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
}

// completes checks that these jobs end well, and that nothing of them is left
// in the spool of the folder.
func (s *server) completes(t *testing.T, dir string, ids []string) {
	t.Helper()
	for _, id := range ids {
		j := s.end(t, id)
		if j.Status != "completed" {
			t.Errorf("%s is %s", id, j.Status)
			continue
		}
		checkFiles(t, dir+"/files", j.Output.Manifest)
	}
	await(t, "nothing is left in the spool", func() bool { // sources are deleted after the end
		left, err := os.ReadDir(dir + "/spool")
		if err != nil {
			t.Fatal(err)
		}
		return len(left) == 0
	})
}

func TestOptimizeReportsEachFile(t *testing.T) {
	in, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	for name, content := range map[string][]byte{
		"cat.jpg":       read(t, testdata(t)+"/test.jpg"),
		"below/cat.png": read(t, testdata(t)+"/test.png"),
		"damaged.jpg":   read(t, testdata(t)+"/test.jpg")[:20_000],
		"notes.txt":     []byte("no picture"),
	} {
		path := filepath.Join(in, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	missing := filepath.Join(in, "missing.jpg")

	for _, made := range []string{"made", "there"} {
		stdout, stderr, status := run(t, "optimize", "-o", out, "--set", "ladder.widths=64", in, missing)
		if status != 1 || stderr != "" {
			t.Errorf("status %d, stderr %q; want 1 for the bad files, and nothing", status, stderr)
		}
		got := make(map[string]string)
		for line := range strings.Lines(stdout) {
			var o outcome
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			name, _ := filepath.Rel(in, o.File)
			got[name] = o.Status
			if o.Error != nil {
				got[name] += " " + string(o.Error.Code)
			}
			if o.ID != "" {
				m, err := manifest.Decode(read(t, filepath.Join(out, o.ID, manifest.FileName)))
				if err != nil {
					t.Fatal(err)
				}
				checkFiles(t, out, m)
			}
		}
		want := map[string]string{
			"cat.jpg": made, "below/cat.png": made, "notes.txt": "skipped",
			"damaged.jpg": "failed corrupt_image", "missing.jpg": "failed not_found",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the outcomes differ (-want +got):\n%s", diff)
		}
	}
	sets, err := os.ReadDir(out)
	if err != nil || len(sets) != 2 {
		t.Errorf("the folder holds %v, %v; want two sets", sets, err)
	}
}

func TestOptimizeSucceedsWhenAllIsWell(t *testing.T) {
	stdout, stderr, status := run(t, "optimize", "-o", t.TempDir(), "--set", "ladder.widths=100", testdata(t)+"/test.jpg")
	if status != 0 || strings.Count(stdout, "\n") != 1 || stderr != "" {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("ladder: {widths: [640, 320]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, status := run(t, "check", "--config", file)
	if want := "optimizerd: " + file + ":1: ladder.widths[1]: must be greater than 640, the width before it (got 320)\n"; status != 1 || stderr != want {
		t.Errorf("status %d, %q; want 1, %q", status, stderr, want)
	}
	stdout, stderr, status := run(t, "check", "--config", "../../config.example.yaml")
	if status != 0 || !strings.Contains(stdout, "the configuration is valid") {
		t.Errorf("the example: status %d, %s%s", status, stdout, stderr)
	}
	_, stderr, status = run(t, "check", "--set", "codec.path=/nowhere")
	if status != 1 || !strings.Contains(stderr, "codec.path: no executable at [/nowhere]") {
		t.Errorf("a missing codec: status %d, %s", status, stderr)
	}
}

func TestVersionShowsTheCodec(t *testing.T) {
	stdout, stderr, status := run(t, "version", "--json")
	var v versions
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || status != 0 {
		t.Fatalf("status %d, %v\n%s%s", status, err, stdout, stderr)
	}
	if v.Version == "" || v.Bimg == "" || v.Libvips == "" || !slices.Contains(v.Inputs, "heic") || len(v.Outputs) != 3 {
		t.Errorf("got %+v", v)
	}
}

func TestMistypedCommandIsAnError(t *testing.T) {
	for _, args := range [][]string{{"srve"}, {"serve", "now"}, {"optimize"}, {"serve", "--prot", "1"}} {
		if _, stderr, status := run(t, args...); status != 1 || !strings.HasPrefix(stderr, "optimizerd: ") {
			t.Errorf("%v: status %d, %q", args, status, stderr)
		}
	}
}
