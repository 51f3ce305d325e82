package daemon_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/publish/catalog"
)

// logged writes n equal lines and another one, and returns what is in the file.
func logged(t *testing.T, level string, n int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log, err := daemon.NewLogger(config.Log{Level: level, Format: "json"}, f)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		log.Named("http").Info("request")
		log.Named("publish").Info(catalog.DeletedMessage)
	}
	log.Info("stopping")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogIsBoundedAndSaysWhatItLeftOut(t *testing.T) {
	log := logged(t, "info", 10_000)
	if n := strings.Count(log, `"msg":"request"`); n != 120 {
		t.Errorf("%d of 10,000 equal lines are in the log, want 120", n)
	}
	if n := strings.Count(log, catalog.DeletedMessage); n != 10_000 {
		t.Errorf("%d of 10,000 deletions are in the log, want all", n)
	}
	if !strings.Contains(log, `similar log lines suppressed","lines":9880}`) || !strings.Contains(log, `"msg":"stopping"`) {
		t.Errorf("the end of the log is\n%s", log[len(log)-400:])
	}
}

func TestDebugLogIsWhole(t *testing.T) {
	if n := strings.Count(logged(t, "debug", 10_000), "\n"); n != 20_001 {
		t.Errorf("%d lines, want 20,001", n)
	}
}

// linesOf waits for n lines at level info and above with a request's id, and returns
// all of them.
func linesOf(s *daemontest.Server, requestID string, n int) (lines []map[string]any) {
	s.T.Helper()
	daemontest.Eventually(s.T, "the lines of "+requestID, func() bool { // a request is logged after its answer
		lines = linesSoFar(s, requestID)
		return len(lines) >= n
	})
	return lines
}

func linesSoFar(s *daemontest.Server, requestID string) (lines []map[string]any) {
	for _, e := range s.Logs.All() {
		fields := e.ContextMap()
		if e.Level >= zapcore.InfoLevel && fields["request_id"] == requestID {
			fields["msg"] = e.Message
			lines = append(lines, fields)
		}
	}
	return lines
}

func TestUploadHasOneLineInTheLog(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	image, bad := daemontest.SmallJPEG(t, 1), damaged(t)
	send := func(body []byte, id string, more ...daemontest.Option) daemontest.Answer {
		options := append([]daemontest.Option{daemontest.Header("X-Request-Id", id)}, more...)
		return s.Request(http.MethodPost, "/v1/images?filename=cat.jpg", bytes.NewReader(body), options...)
	}
	m := send(image, "made").Manifest(t, http.StatusCreated)
	send(image, "there").Manifest(t, http.StatusOK)
	send(bad, "bad").CheckProblem(t, "corrupt_image")
	send([]byte("text"), "text").CheckProblem(t, "unsupported_format")
	for id, want := range map[string]map[string]any{
		"made":  {"msg": "published", "image_id": m.ID, "filename": "cat.jpg", "bytes_in": int64(len(image)), "result": "made"},
		"there": {"msg": "request", "image_id": m.ID, "filename": "cat.jpg", "bytes_in": int64(len(image)), "result": "there", "status": int64(200)},
		"bad":   {"msg": "job failed", "filename": "cat.jpg", "bytes_in": int64(len(bad)), "result": "corrupt_image"},
		"text":  {"msg": "request", "filename": "cat.jpg", "bytes_in": int64(4), "status": int64(415)},
	} {
		lines := linesOf(s, id, 1)
		if len(lines) != 1 {
			t.Errorf("upload %q has %d lines, want 1: %v", id, len(lines), lines)
			continue
		}
		for key, value := range want {
			if got := lines[0][key]; got != value {
				t.Errorf("upload %q: %s is %v, want %v", id, key, got, value)
			}
		}
		if took, ok := lines[0]["took"].(time.Duration); !ok || took <= 0 {
			t.Errorf("upload %q took %v", id, lines[0]["took"])
		}
	}

	j := s.AwaitJob(send(bad, "later", daemontest.Header("Prefer", "respond-async")).Job(t, http.StatusAccepted).ID)
	lines := linesOf(s, "later", 2)
	if len(lines) != 2 || lines[0]["result"] != "accepted" || lines[0]["job_id"] != j.ID || lines[1]["msg"] != "job failed" || lines[1]["job_id"] != j.ID {
		t.Errorf("an upload that is answered at once, and fails later, has the lines %v", lines)
	}
}

// fixedClock is in a zone of its own.
type fixedClock struct{}

func (fixedClock) Now() time.Time {
	return time.Date(2026, 11, 1, 7, 30, 15, 250e6, time.FixedZone("UTC+9", 9*60*60))
}
func (fixedClock) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

// inFormat returns what a log in a format has of two lines.
func inFormat(t *testing.T, format string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log, err := daemon.NewLogger(config.Log{Level: "info", Format: format}, f)
	if err != nil {
		t.Fatal(err)
	}
	log = log.WithOptions(zap.WithClock(fixedClock{}))
	log.Named("jobs").With(zap.String("job_id", "job_1")).Info("published", zap.String("filename", "my \x1b[2J cat.jpg"), zap.Int("bytes_in", 5), zap.Duration("took", 1234567890))
	log.Info("ready to serve", zap.Reflect("codec", codec.About{Version: "1.2.0", Libvips: "8.16.1"}), zap.Any("sandbox", codec.Sandbox{Seccomp: true}))
	log.Named("http").Warn("request", zap.String("path", "/v1/images"), zap.Error(nil), zap.String("client", ""))
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func TestConsoleHasColumnsAndLocalTime(t *testing.T) {
	want := []string{
		`2026-11-01 07:30:15.250  INFO   jobs     published                 job_id=job_1  filename="my \x1b[2J cat.jpg"  bytes_in=5  took=1.2346s`,
		`2026-11-01 07:30:15.250  INFO            ready to serve            codec="1.2.0, libvips 8.16.1"  sandbox="{Memory:0 Seccomp:true Landlock:0}"`,
		`2026-11-01 07:30:15.250  WARN   http     request                   path=/v1/images`,
	}
	if diff := cmp.Diff(want, inFormat(t, "console")); diff != "" {
		t.Errorf("the console differs (-want +got):\n%s", diff)
	}
}

func TestJSONLogIsInUTC(t *testing.T) {
	for _, line := range inFormat(t, "json") {
		var entry struct{ Time string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time != "2026-10-31T22:30:15.250Z" {
			t.Errorf("%s: the time is %q (%v), want it in UTC", line, entry.Time, err)
		}
	}
}

// A daemon's own log answers the queries of the documentation.
func TestQueriesOfTheDocsFindSomething(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "\nlog() {")
	block, _, ends := strings.Cut(block, "```")
	if !found || !ends {
		t.Fatal("docs/operating.md defines no log()")
	}
	p := daemontest.StartProcess(t, "ladder.widths=32")
	p.Upload(daemontest.SmallJPEG(t, 1), daemontest.Header("X-Request-Id", "REQUEST_ID")).Manifest(t, http.StatusCreated)
	p.Upload(damaged(t)).CheckProblem(t, "corrupt_image")
	bin := t.TempDir()
	journal := fmt.Sprintf("#!/bin/sh\ncat %q\n", p.LogFile)
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(journal), 0o700); err != nil { //nolint:gosec // it is executed
		t.Fatal(err)
	}
	define, rest, _ := strings.Cut(block, "\n")
	queries := strings.Split(strings.TrimSpace(rest), "\n")
	if len(queries) < 5 {
		t.Errorf("the page has %d queries, want 5", len(queries))
	}
	for _, query := range queries {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", "log() {"+define+"\n"+query)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || len(bytes.TrimSpace(out)) == 0 {
			t.Errorf("%s\nfinds %q (%v)", query, out, err)
		}
	}
}
