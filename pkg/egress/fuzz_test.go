package egress_test

import (
	"net/netip"
	"net/url"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/egress"
)

func FuzzURL(f *testing.F) {
	for _, s := range []string{
		"https://example.com/cat.jpg", "http://[::1%25eth0]:80/", "https://a@example.com/", "https://0x7f.1/", "https://2130706433/", "https://127.0.0.1:443/",
		"https://[::ffff:10.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://example.com:8080/", "file:///etc/passwd", "https://１２７.0.0.1/", "https:///", "//example.com",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil || (egress.Rules{}).Check(u) != nil {
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Port() != "" && u.Port() != "80" && u.Port() != "443" {
			t.Errorf("%q is allowed", s)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && (!a.IsGlobalUnicast() || a.IsPrivate() || a.Is4In6()) {
			t.Errorf("%q is allowed", s)
		}
	})
}
