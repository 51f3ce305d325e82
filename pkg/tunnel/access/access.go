// Package access verifies the token that Cloudflare Access adds to each request
// it allows: a signed JWT in a header set by the edge.
//
// With the tunnel as the only way in, this is a second check besides the API's
// own tokens. It applies even if the tunnel's hostname is published without an
// Access policy by mistake. It is the only importer of go-oidc.
package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// Config holds the settings of Access.
type Config struct {
	TeamDomain string   `mapstructure:"team_domain"` // issuer, https://TEAM.cloudflareaccess.com; "" disables the check
	Audiences  []string `mapstructure:"audiences"`   // AUD tags of the accepted applications
}

// DefaultConfig disables Access.
func DefaultConfig() Config { return Config{Audiences: []string{}} }

// Validate reports every setting that is out of range, by its key.
func (c Config) Validate() error {
	switch {
	case c.TeamDomain == "" && len(c.Audiences) == 0:
		return nil
	case c.TeamDomain == "":
		return errors.New("tunnel.access.team_domain: required with tunnel.access.audiences, for example https://TEAM.cloudflareaccess.com")
	case len(c.Audiences) == 0 || slices.Contains(c.Audiences, ""):
		return errors.New("tunnel.access.audiences: must list the AUD tag of the Access application, shown in its overview at Cloudflare")
	}
	u, err := url.Parse(c.TeamDomain)
	if err != nil || (u.Scheme != "https" && !loopback(u)) || strings.TrimSuffix(c.TeamDomain, "/") != u.Scheme+"://"+strings.ToLower(u.Host) || u.Host == "" {
		return fmt.Errorf("tunnel.access.team_domain: must be like https://TEAM.cloudflareaccess.com (got %q)", c.TeamDomain)
	}
	return nil
}

// loopback reports whether u is http to a loopback address, which only tests
// use.
func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && ip != nil && ip.IsLoopback()
}

const (
	header      = "Cf-Access-Jwt-Assertion"
	keysPath    = "/cdn-cgi/access/certs"
	keysTimeout = 10 * time.Second // timeout for fetching the signing keys
)

// Keys rotate, so they are fetched again when a token names an unknown key. The
// rate is limited, since anyone can send such a token.
const (
	keysEvery = 10 * time.Second
	keysBurst = 3
)

// Verifier verifies tokens of one team for a set of applications. It is safe
// for concurrent use.
type Verifier struct {
	audiences []string
	tokens    *oidc.IDTokenVerifier
	client    *http.Client
}

// New returns a Verifier. Keys are fetched on first use.
func New(c Config) *Verifier {
	issuer := strings.TrimSuffix(c.TeamDomain, "/")
	client := &http.Client{Timeout: keysTimeout, Transport: &rateLimited{http.DefaultTransport.(*http.Transport).Clone(), rate.NewLimiter(rate.Every(keysEvery), keysBurst)}}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), issuer+keysPath)
	return &Verifier{
		audiences: c.Audiences,
		tokens:    oidc.NewVerifier(issuer, keys, &oidc.Config{SkipClientIDCheck: true}), // Check compares against several audiences
		client:    client,
	}
}

// Close closes idle connections.
func (v *Verifier) Close() { v.client.CloseIdleConnections() }

var errAudience = errors.New("token is for another application")

// Check returns a fault.Forbidden unless r has a valid Access token for one of
// the applications. The identity in the token is ignored.
func (v *Verifier) Check(r *http.Request) error {
	raw := r.Header.Get(header)
	if raw == "" {
		return fault.New(fault.Forbidden, "Cloudflare Access is required and the request has no Access token.")
	}
	token, err := v.tokens.Verify(r.Context(), raw)
	if err == nil && !slices.ContainsFunc(token.Audience, func(a string) bool { return slices.Contains(v.audiences, a) }) {
		err = errAudience
	}
	if err != nil {
		return fault.Wrap(fault.Forbidden, err, "The Cloudflare Access token is not valid for this server.")
	}
	return nil
}

// rateLimited is a RoundTripper that fails requests above its limit.
type rateLimited struct {
	http.RoundTripper
	limit *rate.Limiter
}

func (t *rateLimited) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.limit.Allow() {
		return nil, errors.New("signing keys were just fetched")
	}
	return t.RoundTripper.RoundTrip(r)
}

// CloseIdleConnections implements the method that http.Client looks for.
func (t *rateLimited) CloseIdleConnections() {
	t.RoundTripper.(*http.Transport).CloseIdleConnections()
}
