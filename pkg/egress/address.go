package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"code.dny.dev/ssrf"
	"golang.org/x/sys/unix"
)

// public allows the public internet: no IPv4 address from IANA's
// special-purpose registry, and of IPv6 only global unicast without the special
// parts and those that embed an IPv4 address.
var public = ssrf.New(ssrf.WithAnyPort(), cloud) // ports are checked with the URL

// cloud refuses Azure's platform address (WireServer), which only its virtual
// machines can reach although it is in public address space.
var cloud = ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32"))

// private additionally allows addresses of a home network. Multicast, broadcast
// and "this network" remain refused: no server has such an address.
var private = ssrf.New(ssrf.WithAnyPort(), cloud,
	ssrf.WithAllowedV4Prefixes(
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
	),
	ssrf.WithAllowedV6Prefixes(
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("fc00::/7"),
		netip.MustParsePrefix("fe80::/10"),
	),
)

func (r Rules) checkAddr(addr netip.Addr) error {
	guardian := public
	if r.AllowPrivate {
		guardian = private
	}
	if guardian.SafeAddr(addr) == nil && (r.AllowPrivate || !neighbor(addr)) {
		return nil
	}
	// The address is for the log, the reason for the client.
	return fmt.Errorf("%s: %w", addr, &Refused{Reason: "The URL points to an address that this server does not connect to: only public addresses are allowed.", Address: true})
}

// neighbor reports whether addr belongs to this machine or to the same IPv6
// network: at home every device has a public IPv6 address, which does not make
// it public. Connecting a datagram socket sends nothing; the kernel reports the
// source address it would use.
func neighbor(addr netip.Addr) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
	if err != nil { // without a route there is no connection; other errors leave it unknown
		return !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) &&
			!errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.EAFNOSUPPORT)
	}
	defer conn.Close()
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	own, err := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("").Prefix(bits)
	return err == nil && own.Contains(addr)
}
