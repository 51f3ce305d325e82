// Package httpapi implements the HTTP contract: routes, authentication, problem
// details, and the mapping from faults to statuses.
//
// Handlers either return an error or write a response. A middleware assigns
// request ids, writes the log line and turns errors and panics into problem
// details. The package makes no decisions about images or jobs: it parses
// requests, calls the packages below, and writes their results. It opens no
// listener; package daemon does.
package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/httpapi/signedurl"
	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// Config holds the settings of the API.
type Config struct {
	Listen         string        `mapstructure:"listen"`          // HOST:PORT
	PublicURL      string        `mapstructure:"public_url"`      // base of the URLs in manifests; "" uses the request's own
	SyncWait       time.Duration `mapstructure:"sync_wait"`       // how long a response may wait for the job
	BodyIdle       time.Duration `mapstructure:"body_idle"`       // longest pause within a body
	BodyRate       int64         `mapstructure:"body_rate"`       // minimum average rate of a body, bytes per second
	TrustedProxies []string      `mapstructure:"trusted_proxies"` // networks whose X-Forwarded-Proto and -Host and Cf-Connecting-Ip are trusted
	AllowedHosts   []string      `mapstructure:"allowed_hosts"`   // hosts that a server without tokens serves, besides loopback and that of PublicURL
}

// DefaultConfig listens on loopback only.
func DefaultConfig() Config {
	return Config{
		Listen:         "127.0.0.1:8080",
		SyncWait:       25 * time.Second,
		BodyIdle:       20 * time.Second,
		BodyRate:       1 << 10,
		TrustedProxies: []string{},
		AllowedHosts:   []string{},
	}
}

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	var errs []error
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			errs = append(errs, fmt.Errorf("http.public_url: must be like https://img.example.com (got %q)", c.PublicURL))
		}
	}
	for key, d := range map[string]time.Duration{"http.sync_wait": c.SyncWait, "http.body_idle": c.BodyIdle} {
		if d < time.Second || d > 90*time.Second {
			errs = append(errs, fmt.Errorf("%s: must be from 1s to 90s: Cloudflare's edge gives up after 100 s (got %v)", key, d))
		}
	}
	if c.BodyRate < 0 {
		errs = append(errs, fmt.Errorf("http.body_rate: must be at least 0 (got %d)", c.BodyRate))
	}
	for i, host := range c.AllowedHosts {
		if err := checkHost(host); err != nil {
			errs = append(errs, fmt.Errorf("http.allowed_hosts[%d]: %w (got %q)", i, err, host))
		}
	}
	_, err := c.proxies()
	return errors.Join(append(errs, err)...)
}

func checkHost(host string) error {
	if strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) { // which no client sends
		return errors.New("must be ASCII; use the xn-- form of the name")
	}
	if u, err := url.Parse("http://" + host); err != nil || host == "" || u.Host != host || u.Port() != "" {
		return errors.New("must be a host name without a port, like photos.lan")
	}
	return nil
}

// ownHosts returns the host names that this server serves besides loopback.
func (c Config) ownHosts() []string {
	hosts := slices.Clone(c.AllowedHosts)
	if u, err := url.Parse(c.PublicURL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}

func (c Config) proxies() ([]netip.Prefix, error) {
	var errs []error
	prefixes := make([]netip.Prefix, len(c.TrustedProxies))
	for i, s := range c.TrustedProxies {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("http.trusted_proxies[%d]: must be a network like 192.168.1.2/32 (got %q)", i, s))
		}
		prefixes[i] = p
	}
	return prefixes, errors.Join(errs...)
}

// Deps are the dependencies of the API.
type Deps struct {
	Jobs        *jobs.Service
	Sets        Sets
	Views       Views
	MaxBytes    int64                     // of an image
	Receivers   func(url string) error    // returns why a webhook must not be sent to url; nil disables webhooks
	Tokens      []string                  // accepted bearer tokens; none disables authentication
	Access      func(*http.Request) error // returns why a request through the tunnel is refused; nil accepts all
	PublicFiles bool                      // GET /files/… needs no token
	Checks      Checks
	Stopping    <-chan struct{}   // closed when shutdown begins
	Observe     func(Observation) // called for every response; may be nil
	Log         *zap.Logger
}

// Checks are the parts of /readyz. A check returns an error if its part is not
// ready, and an optional detail otherwise. A part with a nil check is off.
type Checks map[string]func() (detail string, err error)

// Observation describes one response, for metrics.
type Observation struct {
	Route    string // the pattern, "POST /v1/images", or "none"
	Status   int
	Took     time.Duration
	BytesIn  int64
	BytesOut int64
}

type api struct {
	Config
	Deps
	auth    *authenticator
	guard   *hostGuard // nil if a token is needed anyway
	proxies []netip.Prefix
}

// New returns the handler of the complete API.
func New(c Config, d Deps) (http.Handler, error) {
	proxies, err := c.proxies()
	if err != nil {
		return nil, err
	}
	if d.Observe == nil {
		d.Observe = func(Observation) {}
	}
	a := &api{Config: c, Deps: d, auth: newAuthenticator(d.Tokens), proxies: proxies}
	if len(d.Tokens) == 0 {
		a.guard = newHostGuard(c.ownHosts()...)
	}
	return a.routes(), nil
}

// routes registers all routes. HEAD is handled by the GET handlers.
func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/images", a.private(a.postImage))
	mux.Handle("GET /v1/images", a.private(a.listImages))
	mux.Handle("GET /v1/images/{id}", a.private(a.getImage))
	mux.Handle("DELETE /v1/images/{id}", a.private(a.deleteImage))
	mux.Handle("POST /jobs", a.private(a.postJob))
	mux.Handle("GET /jobs", a.private(a.listJobs))
	mux.Handle("GET /jobs/{id}", a.private(a.getJob))
	mux.Handle("DELETE /jobs/{id}", a.private(a.cancelJob))
	mux.Handle("POST /jobs/{id}/retry", a.private(a.retryJob))
	mux.Handle("GET /files/{id}/{name}", a.file(a.getFile))
	mux.Handle("GET /openapi.json", a.private(a.getOpenAPI))
	mux.Handle("GET /healthz", a.public(a.getHealth))
	mux.Handle("GET /readyz", a.public(a.getReadiness))
	return a.wrap(mux)
}

func (a *api) public(h handler) http.Handler { return h }

// open reports whether requests for a path need no token.
func (a *api) open(path string) bool {
	return path == "/healthz" || path == "/readyz" || a.PublicFiles && strings.HasPrefix(path, "/files/")
}

func (a *api) private(h handler) http.Handler {
	return handler(func(w *response, r *http.Request) error {
		if err := a.auth.check(r); err != nil {
			return err
		}
		return h(w, r)
	})
}

// Cache-Control of files. A URL always has the same content, so a copy never
// becomes stale; the only difference is which caches may store it.
const (
	cachePublic  = "public, max-age=31536000, immutable"
	cachePrivate = "private, max-age=31536000, immutable"
)

// file passes h requests for public files, and otherwise those with a token or
// an unexpired signed URL. Shared caches may store only public files.
func (a *api) file(h handler) http.Handler {
	return handler(func(w *response, r *http.Request) error {
		if a.PublicFiles {
			w.cacheControl = cachePublic
			return h(w, r)
		}
		query := r.URL.Query()
		if a.Views.Key != nil {
			if left, ok := a.Views.Key.Verify(r.URL.Path, query, time.Now()); ok {
				w.cacheControl = fmt.Sprintf("private, max-age=%d", left/time.Second)
				return h(w, r)
			}
		}
		err := a.auth.check(r)
		switch {
		case err == nil:
			w.cacheControl = cachePrivate
			return h(w, r)
		case a.Views.Key != nil && signedurl.Signed(query):
			return fault.New(fault.Unauthorized, "This signed URL has expired or is incomplete; request a new one.")
		default:
			return err
		}
	})
}
