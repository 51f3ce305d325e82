package access_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/leaktest"
	"github.com/optimizerd/optimizerd/pkg/tunnel/access"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leaktest.Settle(m)) }

// team is a fake of a team's domain at Cloudflare: it serves the signing keys.
type team struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched atomic.Int64
}

func newTeam(t testing.TB) *team {
	t.Helper()
	s := new(team)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cdn-cgi/access/certs" {
			http.NotFound(w, r)
			return
		}
		s.fetched.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: s.keys})
	}))
	t.Cleanup(s.Close)
	return s
}

// shows publishes a new key in place of the others, and returns it.
func (s *team) shows(t testing.TB, id string) *rsa.PrivateKey {
	t.Helper()
	key := newKey(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = []jose.JSONWebKey{{Key: key.Public(), KeyID: id, Algorithm: "RS256", Use: "sig"}}
	return key
}

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// claims are the claims of a token.
type claims map[string]any

func (c claims) with(name string, value any) claims {
	other := claims{name: value}
	for k, v := range c {
		if k != name {
			other[k] = v
		}
	}
	return other
}

func (c claims) signed(t testing.TB, algorithm jose.SignatureAlgorithm, key any, id string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	object, err := signer.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	token, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func check(v *access.Verifier, token string) error {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if token != "" {
		r.Header.Set("Cf-Access-Jwt-Assertion", token)
	}
	return v.Check(r)
}

func newVerifier(t testing.TB, domain string) *access.Verifier {
	t.Helper()
	c := access.Config{TeamDomain: domain, Audiences: []string{"app-1", "app-2"}}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	v := access.New(c)
	t.Cleanup(v.Close)
	return v
}

func TestAccessAcceptsWhomItHasLetIn(t *testing.T) {
	s := newTeam(t)
	key := s.shows(t, "one")
	v := newVerifier(t, s.URL+"/")
	good := claims{"iss": s.URL, "aud": []string{"other", "app-2"}, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "email": "a@example.com"}
	service := claims{"iss": s.URL, "aud": "app-1", "exp": time.Now().Add(time.Hour).Unix(), "sub": "", "common_name": "x.access"}
	for name, c := range map[string]claims{"a person": good, "a service token": service} {
		if err := check(v, c.signed(t, jose.RS256, key, "one")); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	if n := s.fetched.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times for two requests", n)
	}
}

func TestAccessRefusesEverybodyElse(t *testing.T) {
	s := newTeam(t)
	key := s.shows(t, "one")
	good := claims{"iss": s.URL, "aud": []string{"app-1"}, "exp": time.Now().Add(time.Hour).Unix()}
	token := good.signed(t, jose.RS256, key, "one")
	head, rest, _ := strings.Cut(token, ".")
	for name, token := range map[string]string{
		"no token":          "",
		"junk":              "junk",
		"another app":       good.with("aud", []string{"app-3"}).signed(t, jose.RS256, key, "one"),
		"no app":            good.with("aud", []string{}).signed(t, jose.RS256, key, "one"),
		"expired":           good.with("exp", time.Now().Add(-time.Minute).Unix()).signed(t, jose.RS256, key, "one"),
		"not yet":           good.with("nbf", time.Now().Add(time.Hour).Unix()).signed(t, jose.RS256, key, "one"),
		"another team":      good.with("iss", "https://other.cloudflareaccess.com").signed(t, jose.RS256, key, "one"),
		"another key":       good.signed(t, jose.RS256, newKey(t), "one"),
		"an unknown key":    good.signed(t, jose.RS256, newKey(t), "two"),
		"a shared secret":   good.signed(t, jose.HS256, []byte(strings.Repeat("x", 32)), "one"),
		"another algorithm": good.signed(t, jose.PS256, key, "one"),
		"changed":           head + "." + strings.Replace(rest, "A", "B", 1),
		"cut off":           token[:len(token)-10],
	} {
		t.Run(name, func(t *testing.T) {
			err := check(newVerifier(t, s.URL), token)
			if fault.CodeOf(err) != fault.Forbidden {
				t.Fatalf("got %v, want a forbidden", err)
			}
			if detail := fault.From(err).Detail; strings.Contains(detail, s.URL) || !strings.Contains(detail, "Cloudflare Access") {
				t.Errorf("the answer says %q", detail)
			}
		})
	}
}

func TestKeysThatChangeAreFetchedAnew(t *testing.T) {
	s := newTeam(t)
	v := newVerifier(t, s.URL)
	good := claims{"iss": s.URL, "aud": []string{"app-1"}, "exp": time.Now().Add(time.Hour).Unix()}
	for _, id := range []string{"one", "two"} {
		key := s.shows(t, id)
		if err := check(v, good.signed(t, jose.RS256, key, id)); err != nil {
			t.Errorf("signed by key %s: %v", id, err)
		}
	}
}

func TestKeysAreNotFetchedForNonsense(t *testing.T) {
	s := newTeam(t)
	key := s.shows(t, "one")
	v := newVerifier(t, s.URL)
	good := claims{"iss": s.URL, "aud": []string{"app-1"}, "exp": time.Now().Add(time.Hour).Unix()}
	if err := check(v, good.signed(t, jose.RS256, key, "one")); err != nil {
		t.Fatal(err)
	}
	nonsense := good.signed(t, jose.RS256, newKey(t), "unknown")
	const requests = 50
	for range requests {
		if err := check(v, nonsense); fault.CodeOf(err) != fault.Forbidden {
			t.Fatalf("got %v, want a forbidden", err)
		}
	}
	if n := s.fetched.Load(); n > requests/2 { // some at once, then one every ten seconds
		t.Errorf("the keys were fetched %d times", n)
	}
	if err := check(v, good.signed(t, jose.RS256, key, "one")); err != nil {
		t.Errorf("during this a valid token is refused: %v", err)
	}
}

func TestAccessRefusesEverybodyWithoutKeys(t *testing.T) {
	s := newTeam(t)
	key := s.shows(t, "one")
	s.Close()
	token := claims{"iss": s.URL, "aud": []string{"app-1"}, "exp": time.Now().Add(time.Hour).Unix()}.signed(t, jose.RS256, key, "one")
	if err := check(newVerifier(t, s.URL), token); fault.CodeOf(err) != fault.Forbidden {
		t.Errorf("got %v, want a forbidden", err)
	}
}
