package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// authenticator compares tokens by their digests, which have equal length, so
// that a comparison takes constant time.
type authenticator struct{ digests [][sha256.Size]byte }

func newAuthenticator(tokens []string) *authenticator {
	a := new(authenticator)
	for _, t := range tokens {
		a.digests = append(a.digests, sha256.Sum256([]byte(t)))
	}
	return a
}

func (a *authenticator) check(r *http.Request) error {
	if len(a.digests) == 0 {
		return nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sent := sha256.Sum256([]byte(strings.TrimLeft(token, " "))) // RFC 9110 allows several spaces
	known := 0
	for _, d := range a.digests { // compare all, so that timing does not reveal which one matched
		known |= subtle.ConstantTimeCompare(d[:], sent[:])
	}
	if !strings.EqualFold(scheme, "Bearer") || known == 0 {
		return fault.New(fault.Unauthorized, "The token is missing or unknown; send one of this server's tokens as 'Authorization: Bearer TOKEN'.")
	}
	return nil
}
