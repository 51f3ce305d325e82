package daemon_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
)

// The chaos tests run the daemon as a process of its own, so that its end and
// its memory are seen. `go test` runs a short form; scripts/chaos sets these for
// the long one.
var chaos = struct {
	pictures, first, kills, fills *int
	keep, folder                  *string
	all                           *bool
}{
	pictures: flag.Int("chaos.pictures", 150, "mutated images that are uploaded"),
	first:    flag.Int("chaos.first", 0, "number of the first mutated image, to see one again"),
	kills:    flag.Int("chaos.kills", shortKills, "uploads during which a codec process is killed"),
	fills:    flag.Int("chaos.fills", 2, "times that the disk is filled under load"),
	keep:     flag.String("chaos.keep", "", "directory for the images that a codec process died of"),
	all:      flag.Bool("chaos.all", false, "the bombs, too, that take long to make"),
	folder:   flag.String("chaos.folder", "", "directory whose files are uploaded as bombs, too"),
}

// shortKills is few enough for every `go test`.
const shortKills = 15

var seedFlag = flag.Uint64("chaos.seed", 1, "seed of every random choice")

// seed returns what all random choices of a test follow from, and writes it to
// the test's output: it is shown with -v, and when the test fails.
func seed(t *testing.T) uint64 {
	t.Helper()
	t.Logf("random choices follow from -chaos.seed=%d", *seedFlag)
	return *seedFlag
}

// figure reports a number that scripts/chaos puts into its table.
func figure(t *testing.T, what, format string, args ...any) {
	t.Helper()
	t.Logf("figure: %s | %s", what, fmt.Sprintf(format, args...))
}

// program is a daemon that runs as a process of its own, and a client of it.
type program struct {
	client
	log     string // a file
	cmd     *exec.Cmd
	ended   chan struct{} // closed when it was waited for
	stopped bool          // by the test
}

// syncWait is as long as an upload may wait for its work.
const syncWait = "http.sync_wait=90s"

// run starts a daemon with these settings, KEY=VALUE, over the defaults, until
// the end of the test.
func run(t *testing.T, settings ...string) *program {
	t.Helper()
	path, err := optimizerdPath()
	if err != nil {
		t.Fatal(err)
	}
	codec, err := codecPath()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	settings = append([]string{
		"http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "storage.min_free=1", "log.format=json",
		"storage.dir=" + filepath.Join(dir, "data"), "codec.path=" + codec,
	}, settings...)
	c, _, err := config.Load("", settings)
	if err != nil {
		t.Fatalf("the test's configuration is not one that a user could have: %v", err)
	}
	p := &program{client: client{t: t, config: c, began: time.Now().Truncate(time.Second)}, log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	args := []string{"serve"}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Stderr = log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState says how it ended
	}()
	t.Cleanup(func() {
		p.terminate()
		http.DefaultClient.CloseIdleConnections()
		if t.Failed() {
			p.showLog()
		}
	})
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !ok {
		t.Fatalf("the daemon says %q, %v; want where it listens", line, err)
	}
	p.url, p.adminURL = url, p.findAdminURL()
	p.connect()
	return p
}

// findAdminURL is where the log says that the operator's listener is.
func (p *program) findAdminURL() string {
	p.t.Helper()
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var entry struct{ Msg, Admin string }
		if json.Unmarshal(line, &entry) == nil && entry.Admin != "" {
			return entry.Admin
		}
	}
	p.t.Fatalf("the log does not say where /metrics is:\n%s", b)
	return ""
}

// showLog prints the warnings and errors of the log, the last of them.
func (p *program) showLog() {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, `"level":"info"`) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	for _, line := range lines[max(0, len(lines)-40):] {
		p.t.Logf("daemon's log: %s", line)
	}
}

// terminate has the daemon stop, and fails the test unless it ends well.
func (p *program) terminate() {
	p.t.Helper()
	if p.stopped {
		return
	}
	select {
	case <-p.ended:
		p.t.Errorf("the daemon ended by itself: %v", p.cmd.ProcessState)
		return
	default:
	}
	p.interrupt()
	select {
	case <-p.ended:
		if !p.cmd.ProcessState.Success() {
			p.t.Errorf("the daemon ended with %v, want 0", p.cmd.ProcessState)
		}
	case <-time.After(patience):
		p.t.Errorf("the daemon does not stop")
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// interrupt sends SIGTERM.
func (p *program) interrupt() {
	p.t.Helper()
	p.stopped = true
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Error(err)
	}
}

// send uploads a picture; it may be called from any goroutine.
func (c *client) send(image []byte, options ...option) (answer, error) {
	return c.try(http.MethodPost, "/v1/images", bytes.NewReader(image), options...)
}

// code is the code of a problem, "" if the answer is none.
func (a answer) code() string {
	var p problem
	if a.StatusCode < 400 || json.Unmarshal(a.body, &p) != nil {
		return ""
	}
	return p.Code
}

// verdict is the code of a refusal, or "made"; an error is an answer that an
// upload must not get.
func (a answer) verdict() (string, error) {
	if a.StatusCode == http.StatusCreated || a.StatusCode == http.StatusOK {
		return "made", nil
	}
	code := a.code()
	switch code {
	case "invalid_request", "unsupported_format", "corrupt_image", "too_many_pixels", "too_many_frames", "processing_failed", "too_large":
		if statusOf[code] == a.StatusCode {
			return code, nil
		}
	}
	return "", fmt.Errorf("got %s %.300s, want 201, 200 or a refusal of the contract", a.Status, a.body)
}

// whole reports what is wrong with the set that an upload was answered with:
// the manifest against the source, and every file against the manifest, the
// folder, and its format.
func (c *client) whole(a answer, source []byte) (manifest.Manifest, error) {
	var m manifest.Manifest
	if err := json.Unmarshal(a.body, &m); err != nil {
		return m, err
	}
	digest := sha256.Sum256(source)
	if m.Source.SHA256 != hex.EncodeToString(digest[:]) || m.Source.Bytes != int64(len(source)) {
		return m, fmt.Errorf("the manifest is of %s, want %x", m.Source.SHA256, digest)
	}
	planned := 0
	for range c.config.Ladder.Formats {
		planned += len(rungs(c.config.Ladder.Widths, m.Width, m.Height))
	}
	if len(m.Variants)+len(m.Omitted) != planned {
		return m, fmt.Errorf("%d variants and %d left out for %d × %d, want %d in all", len(m.Variants), len(m.Omitted), m.Width, m.Height, planned)
	}
	for _, v := range m.Variants {
		file, err := c.try(http.MethodGet, "/files/"+v.Key, nil)
		if err != nil {
			return m, err
		}
		digest := sha256.Sum256(file.body)
		if file.StatusCode != http.StatusOK || int64(len(file.body)) != v.Bytes || hex.EncodeToString(digest[:]) != v.SHA256 {
			return m, fmt.Errorf("%s: got %s, %d bytes with SHA-256 %x; want %d with %s", v.Key, file.Status, len(file.body), digest, v.Bytes, v.SHA256)
		}
		if err := decodes(v.Format, file.body, v.Width, v.Height); err != nil {
			return m, fmt.Errorf("%s: %w", v.Key, err)
		}
		if err := sized(v.Format, file.body, v.Width, v.Height); err != nil {
			return m, fmt.Errorf("%s: %w", v.Key, err)
		}
	}
	entries, err := os.ReadDir(c.path("files", m.ID))
	if err != nil || len(entries) != len(m.Variants)+1 {
		return m, fmt.Errorf("the served folder has %v, %w; want %d files and the manifest", entries, err, len(m.Variants))
	}
	return m, nil
}

// sized reports whether the header of a WebP or AVIF tells this size.
func sized(format ladder.Format, b []byte, width, height int) error {
	le24 := func(at int) int { return int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16 }
	be32 := func(at int) int { return int(b[at])<<24 | int(b[at+1])<<16 | int(b[at+2])<<8 | int(b[at+3]) }
	w, h := width, height
	switch {
	case format == ladder.WebP && string(b[12:16]) == "VP8X":
		w, h = le24(24)+1, le24(27)+1
	case format == ladder.WebP && string(b[12:16]) == "VP8L":
		bits := le24(21) | int(b[24])<<24
		w, h = bits&0x3fff+1, bits>>14&0x3fff+1
	case format == ladder.WebP:
		w, h = le24(26)&0x3fff, le24(28)&0x3fff
	case format == ladder.AVIF:
		at := bytes.Index(b, []byte("ispe"))
		if at < 0 || at+16 > len(b) {
			return fmt.Errorf("the AVIF has no size")
		}
		w, h = be32(at+8), be32(at+12)
	}
	if w != width || h != height {
		return fmt.Errorf("the %s is %d × %d, want %d × %d", format, w, h, width, height)
	}
	return nil
}

// remove deletes a set that was checked, so that what is left can be told.
func (c *client) remove(id string) error {
	a, err := c.try(http.MethodDelete, "/v1/images/"+id, nil)
	if err == nil && a.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("DELETE %s: got %s, want 204", id, a.Status)
	}
	return err
}

// quarantined is what the daemon remembers of sources that kill.
func (p *program) quarantined() map[string]quarantine.Entry {
	p.t.Helper()
	store, err := quarantine.Open(p.path(quarantine.Folder), "")
	if err != nil {
		p.t.Fatal(err)
	}
	list, err := store.List()
	if err != nil {
		p.t.Fatal(err)
	}
	entries := make(map[string]quarantine.Entry)
	for _, e := range list {
		entries[e.SHA256] = e
	}
	return entries
}

// children are the codec processes that live now.
func (p *program) children() (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list) // a thread that has ended has none
		for _, field := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// strike sends a signal to a child, and to no other process that may have
// taken its number meanwhile.
func (p *program) strike(pid int, signal syscall.Signal) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	for _, child := range p.children() {
		if child == pid {
			return unix.PidfdSendSignal(fd, signal, nil, 0) == nil
		}
	}
	return false
}

// memory is a line of /proc/PID/status in bytes, 0 for a process that is gone.
func memory(pid int, line string) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := bytes.Cut(b, []byte("\n"+line+":"))
	var kilobytes int64
	_, _ = fmt.Sscan(string(rest), &kilobytes)
	return kilobytes << 10
}

// resident is what the daemon takes, and what its children take.
func (p *program) resident() (daemon, children int64) {
	for _, pid := range p.children() {
		children += memory(pid, "VmRSS")
	}
	return memory(p.cmd.Process.Pid, "VmRSS"), children
}

// peak is the most memory that was resident: of the daemon, of all children
// that lived at one time, and of both together.
type peak struct{ daemon, children, sum int64 }

// watch takes the kernel's own high-water marks every few milliseconds, for
// those of a child end with it, until stop is called. Each child's mark is
// reset at the start, so that the peak is this picture's.
func (p *program) watch() (stop func() peak) {
	for _, pid := range append(p.children(), p.cmd.Process.Pid) {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // a child may just have ended
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan peak)
	go func() {
		var most peak
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for more := true; more; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				more = false
			}
			var children int64
			for _, pid := range p.children() {
				children += memory(pid, "VmHWM")
			}
			daemon := memory(p.cmd.Process.Pid, "VmHWM")
			most = peak{max(most.daemon, daemon), max(most.children, children), max(most.sum, daemon+children)}
		}
		result <- most
	}()
	return func() peak {
		cancel()
		return <-result
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
