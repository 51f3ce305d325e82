//go:build cloudflared

package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

// cloudflaredPath is the program, built from the pinned module.
var cloudflaredPath = sync.OnceValues(func() (string, error) {
	dir, err := daemontest.BuildDir()
	if err != nil {
		return "", err
	}
	return edgetest.BuildCloudflared(dir)
})

// external is a cloudflared beside the daemon, as systemd/cloudflared.service
// runs it, but for the edge that it goes to.
var external = connector{
	settings: func(t *testing.T, _ *edgetest.Edge) []string {
		dir, err := os.MkdirTemp("", "o") // a socket's path must be short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		return []string{"tunnel.mode=external", "tunnel.socket=" + filepath.Join(dir, "http.sock")}
	},
	join: func(p *daemontest.Process, e *edgetest.Edge) func() {
		path, err := cloudflaredPath()
		if err != nil {
			p.T.Fatal(err)
		}
		args := []string{
			"tunnel", "--no-autoupdate", "--protocol", "http2", "--metrics", "127.0.0.1:0", "--management-diagnostics=false",
			"--cacert", e.RootsFile, "--unix-socket", p.Config.Tunnel.Socket,
		}
		for _, a := range e.Addresses {
			args = append(args, "--edge", a)
		}
		cmd := exec.Command(path, append(args, "run")...)
		cmd.Env = append(os.Environ(), "HOME="+p.T.TempDir(), "TUNNEL_TOKEN="+strings.TrimSpace(string(daemontest.ReadFile(p.T, e.TokenFile))))
		var log strings.Builder
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			p.T.Fatal(err)
		}
		stop := sync.OnceFunc(func() {
			figure(p.T, "cloudflared beside the daemon, resident", "%.0f MiB, at most %.0f", daemontest.MiB(daemontest.Memory(cmd.Process.Pid, "VmRSS")), daemontest.MiB(daemontest.Memory(cmd.Process.Pid, "VmHWM")))
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				p.T.Error(err)
			}
			_ = cmd.Wait() // what it left undone, the edge tells
			if p.T.Failed() {
				p.T.Logf("cloudflared wrote:\n%s", log.String())
			}
		})
		p.T.Cleanup(stop)
		return stop
	},
}

func TestCloudflaredBesideTheDaemon(t *testing.T) {
	t.Parallel()
	external.test(t)
}
