package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/doctor"
)

// diagnose runs doctor and returns its report, and its findings by check.
func diagnose(t *testing.T, args ...string) (doctor.Report, map[string]doctor.Finding, int) {
	t.Helper()
	stdout, stderr, status := run(t, append([]string{"doctor", "--json"}, args...)...)
	var r doctor.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || stderr != "" {
		t.Fatalf("status %d, %v\n%s%s", status, err, stdout, stderr)
	}
	checks := make(map[string]doctor.Finding)
	for _, f := range r.Findings {
		checks[f.Check] = f
	}
	return r, checks, status
}

func TestDoctorAsksTheCodecAndTheDaemon(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir)
	listen := strings.TrimPrefix(s.url, "http://")
	_, checks, _ := diagnose(t, "--set", "storage.dir="+dir, "--set", "http.listen="+listen)
	for check, want := range map[string]string{
		"codec":       "libvips 8.",
		"formats":     "reads jpeg",
		"port":        "optimizerd is running and ready",
		"data folder": dir + " is writable",
		"quarantine":  "refused: 0",
	} {
		if f := checks[check]; f.Status != doctor.OK || !strings.Contains(f.Found, want) {
			t.Errorf("%s: %+v, want %q", check, f, want)
		}
	}
	var health struct{ Status string }
	if answer := s.do(t, "GET", "/healthz", nil, nil, &health); answer.StatusCode != http.StatusOK {
		t.Errorf("the daemon is %s after it", answer.Status)
	}
}

func TestDoctorExitsByTheWorstFinding(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"configuration": {"--set", "http.listn=1"},
		"codec":         {"--set", "codec.path=/nowhere", "--set", "storage.dir=" + dir},
		"data folder":   {"--set", "storage.dir=" + file},
		"":              {"--set", "storage.dir=" + dir, "--set", "http.listen=127.0.0.1:0"},
	} {
		r, checks, status := diagnose(t, args...)
		if name != "" && checks[name].Status != doctor.Fail {
			t.Errorf("%s: %+v", name, checks[name])
		}
		if (status == 1) != (r.Status == doctor.Fail) || (name != "" && status != 1) {
			t.Errorf("%q: status %d for %s", name, status, r.Status)
		}
	}
}

func TestDoctorIsPlainWhereNobodyLooks(t *testing.T) {
	stdout, stderr, _ := run(t, "doctor", "--set", "storage.dir="+t.TempDir(), "--set", "auth.tokens_file="+tokenFile(t, "hunter2"))
	if !strings.Contains(stdout, "fail  configuration") || strings.Contains(stdout, "hunter2") || strings.Contains(stdout, "\x1b") || stderr != "" {
		t.Errorf("got\n%s%s", stdout, stderr)
	}
}
