package edgetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BuildCloudflared builds the pinned, unmodified cloudflared into dir. It takes
// over a minute the first time.
func BuildCloudflared(dir string) (path string, err error) {
	module, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	path = filepath.Join(dir, "cloudflared")
	build := exec.Command("go", "build", "-o", path, "github.com/cloudflare/cloudflared/cmd/cloudflared")
	build.Dir = filepath.Join(filepath.Dir(strings.TrimSpace(string(module))), "scripts", "tools", "cloudflared")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s\nbuild cloudflared: %w", out, err)
	}
	return path, nil
}
