package signedurl_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/httpapi/signedurl"
)

func FuzzVerify(f *testing.F) {
	const path = "/files/aaaaaaaaaaaaaaaaaaaaaaaaaa/1.webp"
	key, now := signedurl.Key{1, 2, 3}, time.Unix(1_700_000_000, 0)
	valid := key.Sign(path, now.Add(time.Hour))
	for _, query := range []string{valid, valid + "&exp=9", "exp=%2B1700003600&sig=AAAA", "exp=1700003600", "sig=", "exp=9223372036854775808&sig=AAAA", ";", "%"} {
		f.Add(path, query)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		left, ok := key.Verify(path, values, now)
		if !ok {
			return
		}
		again, err := url.ParseQuery(key.Sign(path, now.Add(left)))
		if err != nil || left <= 0 || again.Get("exp") != values.Get("exp") {
			t.Errorf("%s?%s is valid for %v", path, query, left)
		}
	})
}
