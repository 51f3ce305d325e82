// Package egress sends HTTP requests to addresses that clients name.
//
// The URL of every request, including each redirect, is checked against the
// Rules. The decisive check comes later, on the address that is about to be
// dialed, so DNS rebinding gains nothing.
package egress

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Rules define the allowed destinations.
type Rules struct {
	AllowPrivate bool          // also private and loopback addresses, over http, on any port
	AllowHTTP    bool          // http besides https
	AllowHosts   []string      // if set, the only allowed hosts: a name, an address, or *.example.com for all subdomains
	Ports        []int         // empty means 80 and 443
	Resolver     *net.Resolver // nil is the system's
}

// Refused is the error of a request that the rules forbid. Use errors.As to
// find it in the client's error.
type Refused struct {
	// Reason is a sentence for the client that named the URL. It does not reveal
	// what a name resolved to or where a redirect led.
	Reason string
	// Address reports that the address was refused, which may differ tomorrow,
	// and not the URL.
	Address bool
}

func (r *Refused) Error() string { return r.Reason }

// Check checks a URL as far as possible without resolving its host.
func (r Rules) Check(u *url.URL) error {
	var port string
	switch u.Scheme {
	case "https":
		port = cmp.Or(u.Port(), "443")
	case "http":
		if !r.AllowHTTP && !r.AllowPrivate { // also prevents redirects from https to http
			return &Refused{Reason: "The URL uses http; this server accepts https only."}
		}
		port = cmp.Or(u.Port(), "80")
	default:
		return &Refused{Reason: "The URL scheme must be https or http."}
	}
	host := canonical(u.Hostname())
	addr, notAddr := netip.ParseAddr(host)
	switch {
	case u.User != nil:
		return &Refused{Reason: "The URL must not contain a user name or password."}
	case strings.Contains(host, "%"):
		return &Refused{Reason: "The URL host must not contain a network zone."}
	case strings.ContainsFunc(host, func(c rune) bool { return c >= utf8.RuneSelf }):
		return &Refused{Reason: "The URL host is not ASCII; use its xn-- form."}
	case notAddr != nil && numeric(host):
		return &Refused{Reason: "The URL host is neither a name nor an address in standard form."}
	case !r.AllowPrivate && !r.portAllowed(port):
		return &Refused{Reason: "This server does not connect to the URL's port."}
	case !r.hostAllowed(host):
		return &Refused{Reason: "This server does not connect to the URL's host."}
	case notAddr == nil:
		return r.checkAddr(addr)
	}
	return nil
}

// HostOf returns the host and port of a URL in canonical form.
func HostOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(canonical(u.Hostname()), port)
}

// canonical returns a host in lower case without a trailing dot.
func canonical(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// numeric reports whether a host ends in a number, as no name does. Resolvers
// disagree on 127.1, 0x7f.1 and 2130706433; many treat them as addresses.
func numeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

func (r Rules) portAllowed(port string) bool {
	n, err := strconv.Atoi(port)
	if err != nil {
		return false
	}
	if len(r.Ports) == 0 {
		return n == 80 || n == 443
	}
	return slices.Contains(r.Ports, n)
}

func (r Rules) hostAllowed(host string) bool {
	return len(r.AllowHosts) == 0 || slices.ContainsFunc(r.AllowHosts, func(allowed string) bool {
		allowed = canonical(allowed)
		if strings.HasPrefix(allowed, "*.") {
			return strings.HasSuffix(host, allowed[1:])
		}
		return host == allowed
	})
}
