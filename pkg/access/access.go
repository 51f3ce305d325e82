// Package access holds requests against Cloudflare Access: who it has let in
// carries a signed token in a header, which the edge has put there.
//
// Where the tunnel is all that leads to the daemon, that is a second lock
// beside the API's own tokens, and it holds even if the tunnel's hostname is
// left open at Cloudflare by mistake. It is the only importer of go-oidc.
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
	TeamDomain string   `mapstructure:"team_domain"` // https://TEAM.cloudflareaccess.com, which signs; "" turns it off
	Audiences  []string `mapstructure:"audiences"`   // the AUD tags of the applications that may come
}

// DefaultConfig asks for nothing.
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

// loopback reports whether keys need no TLS on their way: tests have them.
func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && ip != nil && ip.IsLoopback()
}

const (
	header      = "Cf-Access-Jwt-Assertion"
	keysPath    = "/cdn-cgi/access/certs"
	keysTimeout = 10 * time.Second // to fetch the keys
)

// Keys are fetched when a token is signed by one that is not known, since they
// change; a stranger's nonsense must not have them fetched for each request.
const (
	keysEvery = 10 * time.Second
	keysBurst = 3
)

// Verifier knows the keys of one team, and which applications may come.
type Verifier struct {
	audiences []string
	tokens    *oidc.IDTokenVerifier
	client    *http.Client
}

// New fetches nothing yet.
func New(c Config) *Verifier {
	issuer := strings.TrimSuffix(c.TeamDomain, "/")
	client := &http.Client{Timeout: keysTimeout, Transport: &rateLimited{http.DefaultTransport.(*http.Transport).Clone(), rate.NewLimiter(rate.Every(keysEvery), keysBurst)}}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), issuer+keysPath)
	return &Verifier{
		audiences: c.Audiences,
		tokens:    oidc.NewVerifier(issuer, keys, &oidc.Config{SkipClientIDCheck: true}), // there are several: Check looks at them
		client:    client,
	}
}

// Close lets go of the connection to where the keys are.
func (v *Verifier) Close() { v.client.CloseIdleConnections() }

var errAudience = errors.New("token is for another application")

// Check is a fault.Forbidden unless Access has let the request in, to one of
// the applications. What the token says of who it is changes nothing here.
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

// rateLimited lets only so many requests through.
type rateLimited struct {
	http.RoundTripper
	limit *rate.Limiter
}

func (t *rateLimited) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.limit.Allow() {
		return nil, errors.New("signing keys were fetched moments ago")
	}
	return t.RoundTripper.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.
func (t *rateLimited) CloseIdleConnections() {
	t.RoundTripper.(*http.Transport).CloseIdleConnections()
}
