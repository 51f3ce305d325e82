package tunnel_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/tunnel"
	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

const insideEnv = "OPTIMIZERD_TEST_INSIDE"

// A Raspberry Pi boots faster than its Wi-Fi connects. The test uses a network
// namespace in which only the machine itself can be reached.
func TestTunnelStartsWithoutDNSAndConnectsLater(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		startWithoutDNS(t)
		return
	}
	t.Parallel()
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	self.Env = append(os.Environ(), insideEnv+"=1")
	self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := self.CombinedOutput(); err != nil {
		t.Fatalf("%v: it creates its own network, so run it as root, with permission to (docker run --cap-add SYS_ADMIN)\n%s", err, out)
	}
}

func startWithoutDNS(t *testing.T) {
	ownNetwork(t)
	e := edgetest.Start(t)
	k := connect(t, e, hello, func(c *tunnel.Config) { c.EdgeAddresses = nil })
	k.says("Cannot resolve the addresses of Cloudflare's edge")
	answerDNS(t, e.Addresses)
	e.AwaitConnections(2)
	if _, body := get(t, e.URL+"/x"); body != "hello /x" {
		t.Errorf("a visitor got %q", body)
	}
}

// ownNetwork makes this process, in its own network namespace, resolve names at
// loopback, the only interface.
func ownNetwork(t *testing.T) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:53")
		},
	}
}

// answerDNS answers queries for the edge with these addresses, one per region.
func answerDNS(t *testing.T, addresses []string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		query := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			if answer := answerTo(t, query[:n], addresses); answer != nil {
				_, _ = conn.WriteTo(answer, from) // a resolver without an answer retries
			}
		}
	}()
}

func answerTo(t *testing.T, query []byte, addresses []string) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		t.Errorf("a query that cannot be read: %v", err)
		return nil
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	add := func(body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}, Body: body})
	}
	switch name := q.Name.String(); {
	case q.Type == dnsmessage.TypeSRV && name == "_v2-origintunneld._tcp.argotunnel.com.":
		for i, a := range addresses {
			_, port, _ := strings.Cut(a, ":")
			number, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				t.Error(err)
			}
			add(&dnsmessage.SRVResource{Target: dnsmessage.MustNewName("region" + strconv.Itoa(i+1) + ".v2.argotunnel.com."), Port: uint16(number)})
		}
	case q.Type == dnsmessage.TypeA && strings.HasSuffix(name, ".v2.argotunnel.com."):
		add(&dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}})
	}
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return b
}
