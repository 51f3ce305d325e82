package fetch

import (
	"net"
	"net/http"
	"time"

	"github.com/optimizerd/optimizerd/pkg/egress"
)

// Hasten makes the waits between attempts negligible.
func (f *Fetcher) Hasten() { f.wait = time.Millisecond }

// Resolve replaces the resolver.
func (f *Fetcher) Resolve(resolver *net.Resolver) {
	f.client = egress.NewClient(egress.Rules{AllowPrivate: true, Resolver: resolver}, maxRedirects)
}

// Through replaces the transport.
func (f *Fetcher) Through(way http.RoundTripper) { f.client.Transport = way }
