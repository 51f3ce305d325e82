package httpapi

import (
	"net"
	"net/netip"
	"strings"
)

// LoopbackOnly reports whether only this machine can reach a server that listens
// on the address, HOST:PORT.
func LoopbackOnly(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	return loopback(host)
}

// loopback reports whether host is localhost or a loopback address.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
