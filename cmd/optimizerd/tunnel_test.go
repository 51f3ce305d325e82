package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

func TestTunnelConfigPrintsARuleThatLeadsHere(t *testing.T) {
	out, note, status := run(t, "tunnel", "config", "--hostname", "img.example.com", "--tunnel", "the-id", "--set", "tunnel.socket=/run/x.sock")
	if status != 0 {
		t.Fatalf("it ended with %d: %s", status, note)
	}
	for _, line := range []string{
		"tunnel: the-id\n", "credentials-file: /etc/cloudflared/the-id.json\n", "  - hostname: img.example.com\n    service: unix:/run/x.sock\n", "  - service: http_status:404\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is not in\n%s", line, out)
		}
	}
	if !strings.Contains(note, "tunnel.mode is off") {
		t.Errorf("it does not say that nothing listens there: %q", note)
	}
	if out, _, _ := run(t, "tunnel", "config", "--set", "http.public_url=https://pic.example.org"); !strings.Contains(out, "hostname: pic.example.org\n") {
		t.Errorf("with a public URL it prints\n%s", out)
	}
	if _, said, status := run(t, "tunnel", "config"); status == 0 || !strings.Contains(said, "--hostname") {
		t.Errorf("without a hostname it ends with %d: %s", status, said)
	}
}

func TestTunnelCheckWantsCloudflared(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	_, said, status := run(t, "tunnel", "check", "config.yml")
	if status == 0 || !strings.Contains(said, "install it") {
		t.Errorf("without cloudflared it ends with %d: %s", status, said)
	}
}

// standInCloudflared answers as the published cloudflared does: every URL below /files
// matches the second rule.
const standInCloudflared = `#!/bin/sh
case "$*" in
*"ingress validate") echo OK ;;
*"ingress rule "*/files/*) printf 'Matched rule #1\n\tservice: http_status:404\n' ;;
*"ingress rule "*) printf 'Matched rule #0\n\thostname: img.example.com\n\tservice: unix:/run/x.sock\n' ;;
*) exit 2 ;;
esac
`

func TestTunnelCheckPrintsJSON(t *testing.T) {
	program := filepath.Join(t.TempDir(), "cloudflared")
	if err := os.WriteFile(program, []byte(standInCloudflared), 0o700); err != nil { //nolint:gosec // it is executed
		t.Fatal(err)
	}
	check := func(urls ...string) (got struct {
		File string
		URLs []route
	}, stderr string, status int,
	) {
		t.Helper()
		args := append([]string{"tunnel", "check", "config.yml"}, urls...)
		out, stderr, status := run(t, append(args, "--json", "--cloudflared", program, "--set", "auth.tokens_file="+tokenFile(t, "0123456789abcdef"),
			"--set", "tunnel.mode=external", "--set", "tunnel.socket=/run/x.sock")...)
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v: %s%s", err, out, stderr)
		}
		return got, stderr, status
	}
	jobs, file := "https://img.example.com/jobs", "https://img.example.com/files/x/320.webp"
	here := route{URL: jobs, Rule: "#0", Service: "unix:/run/x.sock", Here: true}
	if got, stderr, status := check(jobs); status != 0 || got.File != "config.yml" || !slices.Equal(got.URLs, []route{here}) {
		t.Errorf("status %d: %+v %s", status, got, stderr)
	}
	got, stderr, status := check(jobs, file)
	if elsewhere := (route{URL: file, Rule: "#1", Service: "http_status:404"}); status != 1 || !slices.Equal(got.URLs, []route{here, elsewhere}) || !strings.Contains(stderr, "1 of 2 URLs") {
		t.Errorf("status %d: %+v %s", status, got, stderr)
	}
}

func TestSettingsOfTheTunnelThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "token")
	if err := os.WriteFile(bad, []byte("c2VjcmV0IHdvcmQ=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := filepath.Join(dir, "two")
	if err := os.WriteFile(two, []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	token := "auth.tokens_file=" + tokenFile(t, "0123456789abcdef")
	for _, tc := range []struct {
		sets []string
		says string
	}{
		{[]string{token, "tunnel.mode=on"}, "tunnel.mode: must be one of"},
		{[]string{"tunnel.mode=external"}, "tunnel.mode: anyone on the internet"},
		{[]string{token, "tunnel.mode=embedded"}, "tunnel.token_file: must name a file"},
		{[]string{token, "tunnel.mode=embedded", "tunnel.token_file=" + dir + "/none"}, "tunnel.token_file: " + dir + "/none: no such file"},
		{[]string{token, "tunnel.mode=embedded", "tunnel.token_file=" + bad}, "tunnel.token_file: not a tunnel token"},
		{[]string{token, "tunnel.connections=0"}, "tunnel.connections: must be from 1 to 4"},
		{[]string{token, "tunnel.edge_addresses=here"}, "tunnel.edge_addresses[0]: must be HOST:PORT"},
		{[]string{token, "tunnel.socket=http.sock"}, "tunnel.socket: must be an absolute path"},
		{[]string{token, "tunnel.mode=external", "tunnel.access.team_domain=https://t.cloudflareaccess.com"}, "tunnel.access.audiences: must list the AUD tag"},
		{[]string{token, "tunnel.access.audiences=x", "tunnel.access.team_domain=https://t.cloudflareaccess.com"}, "tunnel.access.team_domain: has no effect while tunnel.mode is off"},
		{[]string{token, "tunnel.mode=external", "tunnel.access.audiences=x", "tunnel.access.team_domain=https://t.cloudflareaccess.com/?x"}, "tunnel.access.team_domain: must be like"},
		{[]string{token, "tunnel.edge_roots=" + bad}, "tunnel.edge_roots: no certificate"},
		{[]string{token, "tunnel.mode=embedded", "tunnel.token_file=" + two}, "tunnel.token_file: must hold one token (got 2)"},
		{[]string{token, "tunnel.access.audiences=x"}, "tunnel.access.team_domain: required with"},
		{[]string{token, "tunnel.mode=external", "tunnel.access.audiences=x", "tunnel.access.team_domain=http://t.cloudflareaccess.com"}, "tunnel.access.team_domain: must be like"},
	} {
		args := []string{"check"}
		for _, set := range tc.sets {
			args = append(args, "--set", set)
		}
		_, said, status := run(t, args...)
		if status == 0 || !strings.Contains(said, tc.says) {
			t.Errorf("%v: ended with %d: %s; want %q in it", tc.sets, status, said, tc.says)
		}
		if strings.Contains(said, "c2VjcmV0") || strings.Contains(said, "secret word") {
			t.Errorf("%v: the token is in %q", tc.sets, said)
		}
	}
}

func TestSocketThatIsLeftBehindIsReplacedAndOneInUseIsNot(t *testing.T) {
	dir, err := os.MkdirTemp("", "o") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	sets := []string{"auth.tokens_file=" + tokenFile(t, "0123456789abcdef"), "tunnel.mode=external", "tunnel.socket=" + socket}
	s := serve(t, filepath.Join(dir, "a"), sets...)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Fatalf("the socket is %v, %v; want mode 0660", info, err)
	}
	_, said, status := run(t, "serve", "--set", "http.listen=127.0.0.1:0", "--set", "storage.dir="+dir+"/b",
		"--set", sets[0], "--set", sets[1], "--set", sets[2])
	if status == 0 || !strings.Contains(said, "tunnel.socket") || !strings.Contains(said, "another program is listening there") {
		t.Errorf("a second daemon ended with %d: %s", status, said)
	}
	s.kill(t)
	again := serve(t, filepath.Join(dir, "a"), sets...)
	if err := again.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := again.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("after an orderly stop the socket is still there: %v", err)
	}
}

func TestDaemonServesWhileTheTunnelIsDown(t *testing.T) {
	e := edgetest.Start(t)
	s := serve(t, t.TempDir(), "auth.tokens_file="+tokenFile(t, "0123456789abcdef"), "tunnel.mode=embedded", "tunnel.token_file="+e.TokenFile,
		"tunnel.edge_addresses=127.0.0.1:1", "tunnel.edge_roots="+e.RootsFile)
	var ready struct {
		Status string
		Parts  map[string]struct{ Status, Detail string }
	}
	if a := s.do(t, http.MethodGet, "/readyz", nil, nil, &ready); a.StatusCode != http.StatusServiceUnavailable || ready.Parts["tunnel"].Status != "not_ready" {
		t.Errorf("readyz is %s %+v", a.Status, ready)
	}
	var list struct{ Items []any }
	bearer := map[string]string{"Authorization": "Bearer 0123456789abcdef"}
	if a := s.do(t, http.MethodGet, "/v1/images", nil, bearer, &list); a.StatusCode != http.StatusOK {
		t.Errorf("beside the tunnel the list is %s", a.Status)
	}
}
