package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/httpapi/signedurl"
)

func TestRangeFollowsRFC9110(t *testing.T) {
	content := []byte("0123456789")
	digest := sha256.Sum256(content)
	huge := strings.Repeat("9", 30)
	for name, tc := range map[string]struct {
		method, header string
		status         int
		body           string
	}{
		"first bytes":                      {http.MethodGet, "bytes=0-1", 206, "01"},
		"unit in capitals":                 {http.MethodGet, "BYTES=0-1", 206, "01"},
		"spaces":                           {http.MethodGet, "bytes= 0-1 ", 206, "01"},
		"unknown unit":                     {http.MethodGet, "lines=0-1", 200, "0123456789"},
		"suffix":                           {http.MethodGet, "bytes=-3", 206, "789"},
		"suffix of nothing":                {http.MethodGet, "bytes=-0", 416, ""},
		"suffix of many noughts":           {http.MethodGet, "bytes=-000", 416, ""},
		"nothing and something":            {http.MethodGet, "bytes=-0,4-5", 206, "45"},
		"beyond the end":                   {http.MethodGet, "bytes=10-", 416, ""},
		"a first byte that no int64 holds": {http.MethodGet, "bytes=" + huge + "-", 416, ""},
		"a last byte that no int64 holds":  {http.MethodGet, "bytes=8-" + huge, 206, "89"},
		"a suffix that no int64 holds":     {http.MethodGet, "bytes=-" + huge, 206, "0123456789"},
		"many noughts":                     {http.MethodGet, "bytes=" + strings.Repeat("0", 30) + "1-2", 206, "12"},
		"no number":                        {http.MethodGet, "bytes=a-b", 416, ""},
		"a sign":                           {http.MethodGet, "bytes=+1-2", 416, ""},
		"spaces within":                    {http.MethodGet, "bytes=0 - 5", 416, ""},
		"backwards":                        {http.MethodGet, "bytes=5-2", 416, ""},
		"without a unit":                   {http.MethodGet, "0-1", 200, "0123456789"},
		"HEAD has no ranges":               {http.MethodHead, "bytes=0-1", 200, ""},
		"HEAD beyond the end":              {http.MethodHead, "bytes=10-", 200, ""},
		"sixteen ranges":                   {http.MethodGet, "bytes=" + strings.Repeat("10-,", 15) + "0-0", 206, "0"},
		"more than sixteen":                {http.MethodGet, "bytes=" + strings.Repeat("0-0,", 16) + "0-0", 200, "0123456789"},
		"a quarter of a megabyte":          {http.MethodGet, "bytes=" + strings.Repeat("0-0,", 60000) + "0-0", 200, "0123456789"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, "/files/x/1.webp", nil)
			r.Header.Set("Range", tc.header)
			recorder := httptest.NewRecorder()
			w := &response{ResponseWriter: recorder, cacheControl: cachePublic}
			err := serveFile(w, r, file{bytes.NewReader(content), "image/webp", digest[:], time.Unix(1, 0), int64(len(content))})
			if tc.status == http.StatusRequestedRangeNotSatisfiable {
				if err == nil || recorder.Header().Get("Content-Range") != "bytes */10" {
					t.Fatalf("got %v with Content-Range %q, want a refusal with bytes */10", err, recorder.Header().Get("Content-Range"))
				}
				return
			}
			if err != nil || recorder.Code != tc.status || recorder.Body.String() != tc.body {
				t.Errorf("got %d %q, %v; want %d %q", recorder.Code, recorder.Body, err, tc.status, tc.body)
			}
		})
	}
}

// flakyContent is a file in a store whose first request fails.
type flakyContent struct {
	*bytes.Reader
	failure error
}

func (c flakyContent) Prepare(int64) error { return c.failure }

func TestFileThatCannotBeReadIsAProblemEvenIfItsStoreComesBack(t *testing.T) {
	content := []byte("0123456789")
	digest := sha256.Sum256(content)
	away := fault.New(fault.Unavailable, "The object store is out of reach.")
	r := httptest.NewRequest(http.MethodGet, "/files/x/1.webp", nil)
	r.Header.Set("Range", "bytes=0-1")
	recorder := httptest.NewRecorder()
	w := &response{ResponseWriter: recorder}
	err := serveFile(w, r, file{flakyContent{bytes.NewReader(content), away}, "image/webp", digest[:], time.Unix(1, 0), int64(len(content))})
	if !errors.Is(err, away) {
		t.Errorf("got %v, want %v", err, away)
	}
	if recorder.Body.Len() > 0 { // as 200 OK, caches would store two bytes as the file
		t.Errorf("the client got %d with %q", recorder.Code, recorder.Body)
	}
}

func TestETagsOfSeveralHeadersAreOneList(t *testing.T) {
	digest := sha256.Sum256([]byte("x"))
	own := fmt.Sprintf("%q", hex.EncodeToString(digest[:]))
	for name, want := range map[string]int{"If-None-Match": http.StatusNotModified, "If-Match": http.StatusOK} {
		r := httptest.NewRequest(http.MethodGet, "/files/x/1.webp", nil)
		r.Header[name] = []string{`"another"`, own}
		w := httptest.NewRecorder()
		err := serveFile(&response{ResponseWriter: w}, r, file{strings.NewReader("x"), "image/webp", digest[:], time.Unix(1, 0), 1})
		if err != nil || w.Code != want {
			t.Errorf("%s twice, the second with the file's own: got %d, %v; want %d", name, w.Code, err, want)
		}
	}
}

func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-1", "BYTES=-0", "lines=1", "bytes=-", "bytes=,", "=", "bytes=1-0", "bytes=--1", "bytes=99999999999999999999-"} {
		f.Add(seed)
	}
	content := []byte("0123456789")
	digest := sha256.Sum256(content)
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/files/x/1.webp", nil)
		r.Header.Set("Range", header)
		recorder := httptest.NewRecorder()
		w := &response{ResponseWriter: recorder}
		err := serveFile(w, r, file{bytes.NewReader(content), "image/webp", digest[:], time.Unix(1, 0), int64(len(content))})
		if err == nil && recorder.Code == http.StatusOK && recorder.Body.String() != string(content) {
			t.Errorf("Range %q: 200 with %q", header, recorder.Body)
		}
		if err == nil && recorder.Body.Len() > maxRanges*300 {
			t.Errorf("Range %q: %d bytes of an answer", header, recorder.Body.Len())
		}
	})
}

func TestFilesAreForSharedCachesOnlyWherePublic(t *testing.T) {
	const token, path = "0123456789abcdef", "/files/aaaaaaaaaaaaaaaaaaaaaaaaaa/1.webp"
	key, err := signedurl.LoadKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	signed := path + "?" + key.Sign(path, time.Now().Add(time.Hour))
	for name, tc := range map[string]struct {
		public        bool
		tokens        []string
		target        string
		authorization string
		want          []string
	}{
		"public":             {true, []string{token}, path, "", []string{"public, max-age=31536000, immutable"}},
		"public with tokens": {true, []string{token}, path, "Bearer " + token, []string{"public, max-age=31536000, immutable"}},
		"by a token":         {false, []string{token}, path, "Bearer " + token, []string{"private, max-age=31536000, immutable"}},
		"without any tokens": {false, nil, path, "", []string{"private, max-age=31536000, immutable"}},
		"by a signed URL":    {false, []string{token}, signed, "", []string{"private, max-age=3600", "private, max-age=3599"}}, // a second may have passed
	} {
		t.Run(name, func(t *testing.T) {
			deps := Deps{Tokens: tc.tokens, PublicFiles: tc.public}
			if !tc.public && len(tc.tokens) > 0 {
				deps.Views.Key = &key
			}
			a := &api{Deps: deps, auth: newAuthenticator(tc.tokens)}
			r := httptest.NewRequest(http.MethodGet, tc.target, nil)
			r.Header.Set("Authorization", tc.authorization)
			w := &response{ResponseWriter: httptest.NewRecorder()}
			a.file(func(w *response, r *http.Request) error {
				return serveFile(w, r, file{strings.NewReader("x"), "image/webp", nil, time.Unix(1, 0), 1})
			}).ServeHTTP(w, r)
			got := w.Header().Get("Cache-Control")
			if w.err != nil || got != tc.want[0] && got != tc.want[len(tc.want)-1] {
				t.Errorf("got %q, %v; want %q", got, w.err, tc.want)
			}
		})
	}
}
