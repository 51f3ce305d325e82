// Package egress is the way out: HTTP to addresses that strangers name.
//
// Every request, the first one and each redirect, is held against the Rules by
// its URL. The check that counts comes later, on the address itself when it is
// about to be dialled, so that a name which changes its answer gains nothing.
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

// Rules say where requests may go.
type Rules struct {
	AllowPrivate bool          // private and loopback addresses too, by http, on any port
	AllowHTTP    bool          // http beside https
	AllowHosts   []string      // if there are any, these alone: a name, an address, or *.example.com for all names below
	Ports        []int         // none means 80 and 443
	Resolver     *net.Resolver // nil is the system's
}

// Refused is the error of a request that the rules do not let out. errors.As
// finds it in what the client returns.
type Refused struct {
	// Reason is one sentence for the person who named the URL. It tells
	// nothing of what a name resolved to or where a redirect led.
	Reason string
	// Address says that it was about an address, which a name may not have
	// tomorrow, and not about the URL.
	Address bool
}

func (r *Refused) Error() string { return r.Reason }

// Check holds a URL against the rules, as far as that goes without looking a
// name up.
func (r Rules) Check(u *url.URL) error {
	var port string
	switch u.Scheme {
	case "https":
		port = cmp.Or(u.Port(), "443")
	case "http":
		if !r.AllowHTTP && !r.AllowPrivate { // this stops the step down from https by a redirect, too
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
		return &Refused{Reason: "This server does not connect to the port of this URL."}
	case !r.hostAllowed(host):
		return &Refused{Reason: "This server does not connect to the host of this URL."}
	case notAddr == nil:
		return r.checkAddr(addr)
	}
	return nil
}

// HostOf is the host and port that a URL leads to, in the one form in which
// equal ones are equal.
func HostOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(canonical(u.Hostname()), port)
}

// canonical is the one form in which hosts are compared.
func canonical(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// numeric reports whether a host ends in a number, as no name does. Resolvers
// differ on what 127.1, 0x7f.1 and 2130706433 are; many take them for addresses.
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
