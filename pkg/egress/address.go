package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"code.dny.dev/ssrf"
	"golang.org/x/sys/unix"
)

// public lets through what is on the public internet: no IPv4 address of
// IANA's registry of special purposes, and of IPv6 only global unicast without
// the parts that are special or hold an IPv4 address within.
var public = ssrf.New(ssrf.WithAnyPort()) // the port is checked with the URL

// private lets through what a machine at home can have besides. Multicast,
// broadcast and "this network" stay refused: no server has such an address.
var private = ssrf.New(ssrf.WithAnyPort(),
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
	// The address is for the log; the sentence is for everybody.
	return fmt.Errorf("%s: %w", addr, &Refused{Reason: "The URL points to an address that this server does not connect to.", Address: true})
}

// neighbor reports whether an address is this machine's own, or in the same
// IPv6 network: at home every device has a public IPv6 address, and is no more
// the public's for that. Connecting a datagram socket sends nothing; it asks
// the kernel which address it would send from.
func neighbor(addr netip.Addr) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
	if err != nil { // without a route there is no connection either; else it cannot be known
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
