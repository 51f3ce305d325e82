package access_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Whatever is accepted was signed: its header and claims are those of the one
// token there is.
func FuzzToken(f *testing.F) {
	team := newTeam(f)
	key := team.shows(f, "k1")
	v := newVerifier(f, team.URL)
	valid := claims{"iss": team.URL, "aud": []string{"app-1"}, "exp": time.Now().Add(24 * time.Hour).Unix()}.signed(f, jose.RS256, key, "k1")
	signed := valid[:strings.LastIndex(valid, ".")]
	for _, token := range []string{
		valid, signed + ".", signed, valid + "." + valid, "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.",
		"eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.e30.AAAA", `{"payload":"e30","signatures":[{"protected":"eyJhbGciOiJub25lIn0","signature":""}]}`,
		valid[strings.Index(valid, "."):],
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if err := check(v, token); err == nil && !strings.HasPrefix(token, signed+".") {
			t.Errorf("%q is accepted", token)
		}
	})
}
