package daemon_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

// strangers opens connections to a server of the daemon, until the end of the test, and
// does something with all of them at once.
func strangers(t *testing.T, url string, n int, do func(net.Conn)) {
	t.Helper()
	var each sync.WaitGroup
	for range n {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(daemontest.Patience)); err != nil {
			t.Fatal(err)
		}
		each.Go(func() { do(c) })
	}
	each.Wait()
}

func TestConnectionsWithEndlessHeadersTakeLittleMemory(t *testing.T) {
	t.Parallel()
	const most = 20_000_000
	p := daemontest.StartProcess(t)
	for _, url := range []string{p.URL, p.AdminURL} {
		before := daemontest.Memory(p.Cmd.Process.Pid, "VmRSS")
		stop := p.Watch()
		strangers(t, url, 300, func(c net.Conn) {
			_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
			_, _ = c.Write(bytes.Repeat([]byte("a"), 1_000_000)) // it is cut off
		})
		if grown := stop().Daemon - before; grown > most {
			t.Errorf("%s: 300 connections take %.1f MB of memory, want at most %d", url, float64(grown)/1e6, most/1_000_000)
		}
	}
	p.CheckServes()
}

func TestConnectionsBeyondTheLimitAreNotAccepted(t *testing.T) {
	t.Parallel()
	const most = 512
	p := daemontest.StartProcess(t)
	for _, url := range []string{p.URL, p.AdminURL} {
		own := acceptedBy(t, url) // of this test's client
		strangers(t, url, most-own, func(c net.Conn) {
			_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
				t.Errorf("%s: one of %d connections: %v", url, most, err)
			}
		})
		strangers(t, url, 100, func(net.Conn) {})
		daemontest.Eventually(t, fmt.Sprintf("%d connections to %s are open", most, url), func() bool { return acceptedBy(t, url) == most })
	}
}

// acceptedBy returns how many connections to a server are open and were accepted.
func acceptedBy(t *testing.T, url string) int {
	t.Helper()
	at, err := netip.ParseAddrPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	ip := at.Addr().As4()
	local := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), at.Port())
	accepted := make(map[string]bool) // by inode: the kernel lists some twice while others come and go
	for line := range strings.Lines(string(daemontest.ReadFile(t, "/proc/net/tcp"))) {
		// NUMBER: LOCAL REMOTE STATE … INODE …; without an inode until it is accepted.
		fields := strings.Fields(line)
		if len(fields) > 9 && fields[1] == local && fields[3] == "01" && fields[9] != "0" {
			accepted[fields[9]] = true
		}
	}
	return len(accepted)
}
