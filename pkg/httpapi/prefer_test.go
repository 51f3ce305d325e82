package httpapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestPreferFollowsRFC7240(t *testing.T) {
	const otherwise, longest = 20 * time.Second, 30 * time.Second
	none := preference{wait: otherwise}
	for _, tc := range []struct {
		headers []string
		want    preference
	}{
		{nil, none},
		{[]string{"respond-async"}, preference{0, "respond-async"}},
		{[]string{"Respond-Async"}, preference{0, "respond-async"}},
		{[]string{`respond-async=""`}, preference{0, "respond-async"}},
		{[]string{"respond-async; a = b"}, preference{0, "respond-async"}},
		{[]string{", respond-async,"}, preference{0, "respond-async"}},
		{[]string{"wait=5"}, preference{5 * time.Second, "wait=5"}},
		{[]string{"WAIT = 5;x=y"}, preference{5 * time.Second, "wait=5"}},
		{[]string{`wait="5"`}, preference{5 * time.Second, "wait=5"}},
		{[]string{"wait=0"}, preference{0, "wait=0"}},
		{[]string{"wait=31"}, preference{longest, "wait=30"}},
		{[]string{"wait=99999999999999999999"}, preference{longest, "wait=30"}},
		{[]string{"respond-async, wait=5"}, preference{5 * time.Second, "wait=5"}},
		{[]string{"respond-async", "wait=5"}, preference{5 * time.Second, "wait=5"}},
		{[]string{"wait=5, wait=6"}, preference{5 * time.Second, "wait=5"}}, // the first one counts
		{[]string{"wait=x, respond-async"}, preference{0, "respond-async"}},
		{[]string{`foo=1a; b="c, wait=7", return=minimal, respond-async`}, preference{0, "respond-async"}},
		{[]string{`foo="a\", wait=7", wait=5`}, preference{5 * time.Second, "wait=5"}},
		{[]string{"wait"}, none},
		{[]string{"wait=-1"}, none},
		{[]string{"wait=1.5"}, none},
		{[]string{"respond-async=no"}, none},
		{[]string{`foo="wait=7`}, none},
		{[]string{"junk;;="}, none},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v1/images", nil)
		r.Header["Prefer"] = tc.headers
		if got := parsePreference(r, otherwise, longest); got != tc.want {
			t.Errorf("Prefer: %q: got %v, want %v", tc.headers, got, tc.want)
		}
	}
}
