package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestHealthAsksTheRunningDaemon(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "http.sock")
	external := []string{"--set", "auth.tokens_file=" + tokenFile(t, "0123456789abcdef0123456789abcdef"), "--set", "tunnel.mode=external", "--set", "tunnel.socket=" + socket}
	s := serve(t, dir, external[1], external[3], external[5])
	address := strings.TrimPrefix(s.url, "http://")
	_, port, _ := strings.Cut(address, ":")

	for name, test := range map[string]struct {
		args   []string
		says   string // on standard output
		status int
		error  string
	}{
		"at http.listen":           {args: []string{"--set", "http.listen=" + address}, says: `{"status":"ok"}`},
		"at every address":         {args: append([]string{"--set", "http.listen=0.0.0.0:" + port}, external...), says: `{"status":"ok"}`},
		"at the tunnel's socket":   {args: append([]string{"--set", "http.listen=127.0.0.1:0"}, external...), says: `{"status":"ok"}`},
		"at an address":            {args: []string{"--address", address}, says: `{"status":"ok"}`},
		"at a socket":              {args: []string{"--address", socket}, says: `{"status":"ok"}`},
		"whether it is ready":      {args: []string{"--address", address, "--ready"}, says: `"status":"ready"`},
		"at a port nobody knows":   {args: []string{"--set", "http.listen=127.0.0.1:0"}, status: 1, error: "--address"},
		"at no address":            {args: []string{"--address", "localhost"}, status: 1, error: "missing port"},
		"at a socket not there":    {args: []string{"--address", socket + "2"}, status: 1, error: "no answer from " + socket + "2"},
		"with a bad configuration": {args: []string{"--set", "http.listen=nowhere"}, status: 1, error: "http.listen"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := run(t, append([]string{"health"}, test.args...)...)
			if status != test.status || !strings.Contains(stdout, test.says) || !strings.Contains(stderr, test.error) {
				t.Errorf("status %d, want %d\n%s%s", status, test.status, stdout, stderr)
			}
		})
	}

	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.Wait()
	if stdout, stderr, status := run(t, "health", "--address", address); status != 1 || stdout != "" || !strings.Contains(stderr, "no answer from "+address) {
		t.Errorf("without a daemon: status %d\n%s%s", status, stdout, stderr)
	}
}

func TestHealthFailsUnlessTheAnswerIs200(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"status":"not_ready"}`))
		}
	}))
	t.Cleanup(s.Close)
	address := s.Listener.Addr().String()
	stdout, stderr, status := run(t, "health", "--address", address, "--ready")
	if status != 1 || stdout != `{"status":"not_ready"}` || !strings.Contains(stderr, "503 Service Unavailable") {
		t.Errorf("status %d\n%s\n%s", status, stdout, stderr)
	}
	if _, stderr, status := run(t, "health", "--address", address); status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
}
