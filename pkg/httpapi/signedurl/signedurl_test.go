package signedurl_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/httpapi/signedurl"
)

var now = time.Unix(1_800_000_000, 0)

const path = "/files/k3v5/800.webp"

func key(t *testing.T, file string) signedurl.Key {
	t.Helper()
	k, err := signedurl.LoadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestLinkWorksForItsPathUntilItExpires(t *testing.T) {
	k := key(t, filepath.Join(t.TempDir(), "key"))
	query, err := url.ParseQuery(k.Sign(path, now.Add(time.Hour)))
	if err != nil || !signedurl.Signed(query) {
		t.Fatalf("got %v, %v", query, err)
	}
	forged := func(name, value string) url.Values {
		q := url.Values{"exp": query["exp"], "sig": query["sig"]}
		q.Set(name, value)
		return q
	}
	for name, tc := range map[string]struct {
		path  string
		query url.Values
		at    time.Time
		want  bool
	}{
		"as signed":        {path, query, now, true},
		"a second before":  {path, query, now.Add(time.Hour - time.Second), true},
		"expired":          {path, query, now.Add(time.Hour), false},
		"another file":     {"/files/k3v5/640.webp", query, now, false},
		"a later expiry":   {path, forged("exp", "1900000000"), now, false},
		"no number":        {path, forged("exp", "never"), now, false},
		"another sig":      {path, forged("sig", "AAAA"), now, false},
		"not base64":       {path, forged("sig", "!"), now, false},
		"nothing":          {path, url.Values{}, now, false},
		"only the expiry":  {path, url.Values{"exp": query["exp"]}, now, false},
		"sig of no length": {path, forged("sig", ""), now, false},
	} {
		left, got := k.Verify(tc.path, tc.query, tc.at)
		if got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
		if want := now.Add(time.Hour).Sub(tc.at); got && left != want {
			t.Errorf("%s: valid for %v more, want %v", name, left, want)
		}
	}
}

func TestKeyStaysOverRestarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	first := key(t, file)
	if key(t, file) != first {
		t.Error("the second start has another key")
	}
	if key(t, file+"2") == first {
		t.Error("two servers have the same key")
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := signedurl.LoadKey(file); err == nil {
		t.Error("a damaged key is taken")
	}
}
