package httpapi

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"syscall"
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

// LocalAddress returns the address at which this machine reaches a server that
// listens on the address, HOST:PORT: loopback if it listens on every address. It does
// no DNS lookup.
func LocalAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// ListenAdvice returns a sentence that says how to fix an error of net.Listen.
func ListenAdvice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "Another program is listening there ('ss -ltnp' shows it): stop it, or choose another port."
	case errors.Is(err, fs.ErrPermission):
		return "Ports below 1024 require root: choose another port."
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "No interface of this machine has this address; 'ip address' lists them."
	default:
		return "Choose another address."
	}
}
