package fetch

import (
	"net"
	"net/http"
	"time"

	"github.com/optimizerd/optimizerd/pkg/egress"
)

// Hasten makes the waits between tries too short to notice.
func (f *Fetcher) Hasten() { f.wait = time.Millisecond }

// Resolve has names looked up elsewhere.
func (f *Fetcher) Resolve(resolver *net.Resolver) {
	f.client = egress.NewClient(egress.Rules{AllowPrivate: true, Resolver: resolver}, maxRedirects)
}

// Through has requests go another way.
func (f *Fetcher) Through(way http.RoundTripper) { f.client.Transport = way }
