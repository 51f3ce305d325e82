//go:build cloudflared

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

func TestCloudflaredTakesWhatTunnelConfigPrints(t *testing.T) {
	cloudflared, err := edgetest.BuildCloudflared(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.yml")
	check := func(content string, args ...string) (string, string, int) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return run(t, append([]string{"tunnel", "check", "--cloudflared", cloudflared, file}, args...)...)
	}
	printed, _, _ := run(t, "tunnel", "config", "--hostname", "img.example.com")

	out, said, status := check(printed, "--set", "http.public_url=https://img.example.com", "--set", "tunnel.mode=external")
	if status != 0 || strings.Count(out, "\nok    https://img.example.com/") != 3 || !strings.Contains(out, "rule #0: unix:/run/optimizerd/http.sock, this daemon") {
		t.Errorf("of what was printed it says, with %d\n%s%s", status, out, said)
	}
	out, said, status = check(printed, "--set", "tunnel.mode=external", "https://img.example.com/jobs", "https://www.example.com/")
	if status != 1 || !strings.Contains(out, "fail  https://www.example.com/ matches rule #1: http_status:404") || !strings.Contains(said, "1 of 2 URLs") {
		t.Errorf("of a URL that leads elsewhere it says, with %d\n%s%s", status, out, said)
	}
	for content, want := range map[string]string{
		"ingress: [{hostname: a.example.com, service: http://localhost}]":                                        "last ingress rule must match all URLs",
		"ingress: [{service: http://localhost}, {hostname: a.example.com, service: http://localhost}]":           "Rule #1 is matching the hostname",
		"ingress: [{hostname: 'a.example.com:80', service: http://localhost}, {service: http_status:404}]":       "contain a port",
		"ingress: [{hostname: a.example.com, path: '(', service: http://localhost}, {service: http_status:404}]": "invalid regex",
		"ingress: [{hostname: a.example.com, service: http://localhost/path}, {service: http_status:404}]":       "proxying to a different path",
		"ingres: [{service: http_status:404}]":                                                                   "ingress rules",
		"ingress: {":                                                                                             "yaml",
	} {
		if out, said, status := check(content); status != 1 || !strings.Contains(said, want) {
			t.Errorf("of %s it says, with %d, %s%s; want %q", content, status, out, said, want)
		}
	}
}
