package daemontest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"
)

// Memory is a line of /proc/PID/status in bytes, 0 for a process that is gone.
func Memory(pid int, line string) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := bytes.Cut(b, []byte("\n"+line+":"))
	var kilobytes int64
	_, _ = fmt.Sscan(string(rest), &kilobytes)
	return kilobytes << 10
}

// Resident is the resident memory of the daemon, and of its children.
func (p *Process) Resident() (daemon, children int64) {
	for _, pid := range p.Children() {
		children += Memory(pid, "VmRSS")
	}
	return Memory(p.Cmd.Process.Pid, "VmRSS"), children
}

// Peak is the maximum resident memory: of the daemon, of all children running at
// one time, and of both together.
type Peak struct{ Daemon, Children, Sum int64 }

// Watch reads the kernel's high-water marks every few milliseconds, because a
// child's ends with it, until stop is called. Each child's mark is reset at the
// start, so that the peak is this image's.
func (p *Process) Watch() (stop func() Peak) {
	for _, pid := range append(p.Children(), p.Cmd.Process.Pid) {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // a child may have just ended
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan Peak)
	go func() {
		var most Peak
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for more := true; more; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				more = false
			}
			var children int64
			for _, pid := range p.Children() {
				children += Memory(pid, "VmHWM")
			}
			daemon := Memory(p.Cmd.Process.Pid, "VmHWM")
			most = Peak{max(most.Daemon, daemon), max(most.Children, children), max(most.Sum, daemon+children)}
		}
		result <- most
	}()
	return func() Peak {
		cancel()
		return <-result
	}
}

// MiB converts bytes.
func MiB(bytes int64) float64 { return float64(bytes) / (1 << 20) }
