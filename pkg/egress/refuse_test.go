package egress_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/egress"
)

// private are hosts that are, or are taken for, an address that is not public.
var private = []string{
	// IPv4, as it is
	"127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
	"169.254.169.254", "169.254.170.2", "168.63.129.16", "100.64.0.1", "100.100.100.200", "100.127.255.255",
	"0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "239.255.255.250", "240.0.0.1",
	"192.0.0.1", "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255",
	"198.51.100.7", "203.0.113.9", "192.31.196.1", "192.52.193.1", "192.175.48.1",
	// IPv4, in spellings that some resolver takes for an address
	"127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0X7F.0.0.1", "0x7f.1", "0177.0.0.1", "017700000001",
	"0300.0250.1.1", "3232235777", "00000177.1", "127.0.0.01", "127.0.0.0x1", "1.2.3.4.5", "0x", "9999999999999999999999",
	// IPv6, as it is
	"[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[fe80::1]", "[fe80::1%25eth0]", "[::1%25lo]", "[fec0::1]", "[fc00::1]", "[fd12:3456:789a::1]",
	"[fd00:ec2::254]", "[ff02::1]", "[ff0e::1]", "[100::1]", "[5f00::1]", "[2001:db8::1]", "[3fff::1]", "[2001:2::1]",
	"[2001:10::1]", "[2001:20::1]", "[2001:1::1]", "[2620:4f:8000::1]", "[4000::1]",
	// IPv4 within IPv6
	"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:8.8.8.8]", "[::ffff:0:127.0.0.1]",
	"[::127.0.0.1]", "[::7f00:1]", "[2002:7f00:1::]", "[2002:c0a8:101::1]", "[2001:0:7f00:1::1]", "[2001::80ff:fffe]",
	"[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b:1::7f00:1]",
	// names
	"localhost", "LOCALHOST", "localhost.", "app.localhost",
	"metadata.google.internal", "metadata.google.internal.", "instance-data.ec2.internal", "nas.home.arpa", "router.lan",
	"loop.example", "LOOP.example", "loop.example.", "zero.example", "mapped.example", "six.example", "local6.example", "nat64.example", "6to4.example",
	"teredo.example", "broadcast.example", "multicast.example",
	"mixed.example", "mixed-reversed.example", "mixed6.example",
	"１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "ⓛocalhost",
}

// leads are the names among them.
var leads = map[string][][]netip.Addr{
	"localhost":                  answers("127.0.0.1", "::1"),
	"app.localhost":              answers("127.0.0.1"),
	"metadata.google.internal":   answers("169.254.169.254"),
	"instance-data.ec2.internal": answers("169.254.169.254"),
	"nas.home.arpa":              answers("192.168.1.10"),
	"router.lan":                 answers("192.168.1.1"),
	"loop.example":               answers("127.0.0.1"),
	"zero.example":               answers("0.0.0.0"),
	"mapped.example":             answers("::ffff:127.0.0.1"),
	"six.example":                answers("::1"),
	"local6.example":             answers("fd00::1"),
	"nat64.example":              answers("64:ff9b::7f00:1"),
	"6to4.example":               answers("2002:7f00:1::"),
	"teredo.example":             answers("2001:0:7f00:1::1"),
	"broadcast.example":          answers("255.255.255.255"),
	"multicast.example":          answers("224.0.0.1"),
	"mixed.example":              answers(outside, "127.0.0.1"),
	"mixed-reversed.example":     answers("127.0.0.1", outside),
	"mixed6.example":             answers("2606:4700::1111", "127.0.0.1"),
}

// outside is a public address. Nothing here ever dials it.
const outside = "93.184.216.34"

// victim is a server on loopback that nobody may reach.
func victim(t *testing.T) (port string, reached *atomic.Int32) {
	t.Helper()
	reached = new(atomic.Int32)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			reached.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	_, port, _ = net.SplitHostPort(server.Listener.Addr().String())
	return port, reached
}

func number(t *testing.T, port string) int {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// redirecting answers for https://start.example by itself, and passes on what
// goes elsewhere.
type redirecting struct {
	to   string
	rest http.RoundTripper
}

func (r redirecting) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != "start.example" || req.URL.Scheme != "https" {
		return r.rest.RoundTrip(req)
	}
	return &http.Response{
		StatusCode: http.StatusFound, Header: http.Header{"Location": {r.to}}, Body: http.NoBody, Request: req,
	}, nil
}

// get gives the error of a request, made at once or by a redirect.
func get(t *testing.T, client *http.Client, rawURL string, redirected bool) error {
	t.Helper()
	if redirected {
		through := *client
		through.Transport = redirecting{rawURL, client.Transport}
		client, rawURL = &through, "https://start.example/"
	}
	response, err := client.Get(rawURL)
	if err == nil {
		_ = response.Body.Close()
	}
	return err
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	var refused *egress.Refused
	if !errors.As(err, &refused) {
		t.Errorf("got %v, want it refused", err)
		return
	}
	if strings.ContainsFunc(refused.Reason, func(c rune) bool { return c >= '0' && c <= '9' }) {
		t.Errorf("the detail reveals an address: %s", refused.Reason)
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	port, reached := victim(t)
	res, _ := resolver(t, leads)
	client := egress.NewClient(egress.Rules{AllowHTTP: true, Ports: []int{number(t, port)}, Resolver: res}, 5)
	for _, host := range private {
		for _, redirected := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s redirected %v", host, redirected), func(t *testing.T) {
				wantRefused(t, get(t, client, fmt.Sprintf("http://%s:%s/", host, port), redirected))
			})
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections reached loopback", n)
	}
}

func TestNameThatChangesItsAnswerGainsNothing(t *testing.T) {
	port, reached := victim(t)
	for _, later := range []string{"127.0.0.1", "::1"} {
		res, server := resolver(t, map[string][][]netip.Addr{"rebind.example": slices.Concat(answers(outside), answers(later))})
		client := egress.NewClient(egress.Rules{AllowHTTP: true, Ports: []int{number(t, port)}, Resolver: res}, 5)
		wantRefused(t, get(t, client, fmt.Sprintf("http://rebind.example:%s/", port), false))
		if n := server.asked("rebind.example"); n != 2 {
			t.Errorf("the name was looked up %d times: the second answer was never at hand", n)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections reached loopback", n)
	}
}

func TestURLsOfOtherFormsAreRefused(t *testing.T) {
	port, reached := victim(t)
	res, _ := resolver(t, leads)
	strict := egress.Rules{Resolver: res}
	plain := egress.Rules{Resolver: res, AllowHTTP: true}
	some := egress.Rules{Resolver: res, AllowHosts: []string{"img.example.com", "*.cdn.example.", "Öl.example"}}
	near := egress.Rules{Resolver: res, AllowPrivate: true}
	for rawURL, rules := range map[string]egress.Rules{
		"http://" + outside + "/":                       strict,
		"http://start.example/":                         strict,
		"https://" + outside + ":8443/":                 strict,
		"https://" + outside + ":22/":                   strict,
		"https://" + outside + ":0/":                    strict,
		"https://" + outside + ":65616/":                strict, // 80, to those who lose the 17th bit
		"https://" + outside + ":99999999999999999999/": strict,
		"http://" + outside + ":" + port:                plain,
		"https://user@" + outside + "/":                 strict,
		"https://user:password@" + outside + "/":        strict,
		"https://:@" + outside + "/":                    strict,
		"https://" + outside + "@127.0.0.1/":            strict,
		"ftp://" + outside + "/a.jpg":                   strict,
		"gopher://" + outside + ":80/_GET":              plain,
		"ws://" + outside + "/":                         plain,
		"file:///etc/passwd":                            plain,
		"file://localhost/etc/passwd":                   plain,
		"unix:///run/docker.sock":                       near,
		"data:image/gif;base64,R0lGOD":                  plain,
		"//" + outside + "/":                            strict,
		"/etc/passwd":                                   strict,
		"":                                              strict,
		"https:":                                        strict,
		"https:///":                                     strict,
		"https://:443/":                                 strict,
		"https://./":                                    strict,
		"https:" + outside:                              strict,
		"https://example.com/":                          some,
		"https://img.example.com.evil.example/":         some,
		"https://evilimg.example.com/":                  some,
		"https://cdn.example/":                          some,
		"https://evilcdn.example/":                      some,
		"https://öl.example/":                           some,
		"https://" + outside + "/?a":                    some,
		"http://255.255.255.255/":                       near,
		"http://224.0.0.1/":                             near,
		"http://0.0.0.0:" + port:                        near,
		"http://[::]:" + port:                           near,
		"http://[ff02::1]/":                             near,
		"http://[::ffff:0.0.0.0]:" + port:               near,
		"http://0:" + port:                              near,
		"http://127.1:" + port:                          near,
		"http://zero.example:" + port:                   near,
		"http://multicast.example:" + port:              near,
		"http://[fe80::1%25lo]:" + port:                 near,
		"http://user@127.0.0.1:" + port + "/":           near,
	} {
		t.Run(rawURL, func(t *testing.T) {
			// As a redirect, what has no scheme or host takes those of the page before.
			u, err := url.Parse(rawURL)
			if err != nil {
				t.Fatal(err)
			}
			wantRefused(t, get(t, egress.NewClient(rules, 5), rawURL, u.Scheme != "" && u.Host != ""))
			if leads[u.Hostname()] == nil { // nothing is looked up for this
				wantRefused(t, rules.Check(u))
			}
		})
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections reached loopback", n)
	}
}

func TestPublicURLsPass(t *testing.T) {
	for rawURL, rules := range map[string]egress.Rules{
		"https://example.com/a.jpg?key=1#top":  {},
		"https://EXAMPLE.com.:443/":            {},
		"https://" + outside + "/":             {},
		"https://[2606:4700::1111]/":           {},
		"https://xn--l-0ga.example/":           {},
		"https://7.example/":                   {},
		"https://a_b.example/":                 {},
		"http://example.com:80/":               {AllowHTTP: true},
		"https://example.com:8443/":            {Ports: []int{8443}},
		"https://IMG.example.com./":            {AllowHosts: []string{"img.Example.com"}},
		"https://a.cdn.example/":               {AllowHosts: []string{"*.cdn.example"}},
		"https://a.b.CDN.example./":            {AllowHosts: []string{"*.cdn.example"}},
		"http://192.168.1.7:9000/":             {AllowPrivate: true},
		"http://[fd00::1]:9000/":               {AllowPrivate: true},
		"http://192.168.1.7:9000/nas?x=y":      {AllowPrivate: true, AllowHosts: []string{"192.168.1.7"}},
		"https://www.example.com:443/%2e%2e/x": {},
	} {
		u, err := url.Parse(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		if err := rules.Check(u); err != nil {
			t.Errorf("%s: %v", rawURL, err)
		}
	}
}

func TestAllowPrivateAllowsWhatAHomeHas(t *testing.T) {
	for _, addr := range []string{
		outside, "2606:4700::1111",
		"127.0.0.1", "10.1.2.3", "172.20.0.1", "192.168.0.1", "100.64.0.1", "169.254.1.1", "::1", "fd00::1", "fe80::1",
	} {
		if err := egress.CheckAddr(egress.Rules{AllowPrivate: true}, netip.MustParseAddr(addr)); err != nil {
			t.Error(err)
		}
	}
}

func TestMachinesOwnNetworkIsNotPublic(t *testing.T) {
	want := map[string]bool{"127.0.0.1": true, "127.0.0.2": false}
	if conn, err := net.ListenPacket("udp6", "[::1]:0"); err == nil { // where IPv6 is switched on
		_ = conn.Close()
		want["::1"] = true
	}
	for addr, want := range want {
		if got := egress.Neighbor(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is a neighbor: %v", addr, got)
		}
	}
}

func TestRedirectLoopEnds(t *testing.T) {
	client := egress.NewClient(egress.Rules{}, 5)
	client.Transport = redirecting{"https://start.example/again", client.Transport}
	if err := get(t, client, "https://start.example/", false); !errors.Is(err, egress.ErrRedirects) {
		t.Errorf("got %v", err)
	}
}

func TestRefusedRequestsBodyIsClosed(t *testing.T) {
	body, closed := io.Pipe()
	_, err := egress.NewClient(egress.Rules{}, 0).Post("http://"+outside, "text/plain", body)
	wantRefused(t, err)
	if _, err := closed.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the body is still open: %v", err)
	}
}
