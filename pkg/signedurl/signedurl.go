// Package signedurl makes links that work without a token until they expire.
//
// A signature is HMAC-SHA-256 over the path and the time of expiry, under a key
// that this server made for itself.
package signedurl

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/optimizerd/optimizerd/pkg/atomicfile"
)

// The query parameters.
const (
	expParam = "exp" // Unix time, seconds
	sigParam = "sig" // base64url without padding
)

// Key signs and checks. Links of one key say nothing to another.
type Key [32]byte

// LoadKey reads the key in the file at path, or makes both. Removing the file
// ends all links that are out.
func LoadKey(path string) (Key, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var k Key
		_, _ = rand.Read(k[:]) // it never fails
		return k, atomicfile.WritePrivate(path, k[:])
	}
	if err != nil {
		return Key{}, fmt.Errorf("read key: %w", err)
	}
	if len(b) != len(Key{}) {
		return Key{}, fmt.Errorf("read key: %s has %d bytes, want %d: delete it, and a new one is created", path, len(b), len(Key{}))
	}
	return Key(b), nil
}

// Sign returns the query of a link to path that works until exp.
func (k Key) Sign(path string, exp time.Time) string {
	seconds := strconv.FormatInt(exp.Unix(), 10)
	return url.Values{expParam: {seconds}, sigParam: {base64.RawURLEncoding.EncodeToString(k.mac(path, seconds))}}.Encode()
}

// Signed reports whether a query claims to be signed.
func Signed(query url.Values) bool { return query.Has(sigParam) }

// Verify reports whether query is the signature of path, and not expired.
func (k Key) Verify(path string, query url.Values, now time.Time) bool {
	seconds := query.Get(expParam)
	exp, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || now.Unix() >= exp {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(query.Get(sigParam))
	return err == nil && hmac.Equal(sig, k.mac(path, seconds))
}

func (k Key) mac(path, exp string) []byte {
	h := hmac.New(sha256.New, k[:])
	fmt.Fprintf(h, "%s\n%s", path, exp)
	return h.Sum(nil)
}
