package daemon_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// published is a server with one set, and the path and bytes of one file of it.
func published(t *testing.T, changes ...func(*config.Config)) (s *daemontest.Server, m manifest.Manifest, path string, content []byte) {
	t.Helper()
	s = daemontest.Start(t, changes...)
	m = s.Upload(daemontest.SmallJPEG(t, 6), daemontest.Bearer(s.Config)).Manifest(t, http.StatusCreated)
	content, err := os.ReadFile(s.Path("files", m.Variants[0].Key))
	if err != nil {
		t.Fatal(err)
	}
	return s, m, "/files/" + m.Variants[0].Key, content
}

func TestFileSaysThatItNeverChanges(t *testing.T) {
	t.Parallel()
	s, m, path, content := published(t)
	manifestPath := "/files/" + m.ID + "/manifest.json"
	served := map[string][]byte{path: content, manifestPath: s.Get(manifestPath).Body}
	types := map[string]string{path: m.Variants[0].ContentType, manifestPath: "application/json"}
	for path, content := range served {
		digest := sha256.Sum256(content)
		want := map[string]string{
			"Content-Type":           types[path],
			"Content-Length":         fmt.Sprint(len(content)),
			"ETag":                   `"` + hex.EncodeToString(digest[:]) + `"`,
			"Cache-Control":          "private, max-age=31536000, immutable",
			"Repr-Digest":            "sha-256=:" + base64.StdEncoding.EncodeToString(digest[:]) + ":",
			"Accept-Ranges":          "bytes",
			"X-Content-Type-Options": "nosniff",
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := s.Request(method, path, nil)
			if a.StatusCode != http.StatusOK {
				t.Fatalf("%s %s: got %s, want 200", method, path, a.Status)
			}
			for name, value := range want {
				if got := a.Header.Get(name); got != value {
					t.Errorf("%s %s: %s is %q, want %q", method, path, name, got, value)
				}
			}
			if method == http.MethodGet && !bytes.Equal(a.Body, content) {
				t.Errorf("%s has other bytes than the file", path)
			}
		}
	}
	if got := (daemontest.Answer{Response: &http.Response{StatusCode: 200}, Body: served[manifestPath]}).Manifest(t, 200); got.ID != m.ID || got.Variants[0].URL != s.URL+path {
		t.Errorf("manifest.json is of %s with URL %s, want %s with %s", got.ID, got.Variants[0].URL, m.ID, s.URL+path)
	}
}

func TestRangesAndConditions(t *testing.T) {
	t.Parallel()
	s, m, path, content := published(t)
	etag := `"` + m.Variants[0].SHA256 + `"`
	n := len(content)
	for _, tc := range []struct {
		name    string
		headers map[string]string
		status  int
		body    []byte
	}{
		{"first bytes", map[string]string{"Range": "bytes=0-9"}, 206, content[:10]},
		{"from the middle", map[string]string{"Range": "bytes=100-"}, 206, content[100:]},
		{"suffix", map[string]string{"Range": "bytes=-7"}, 206, content[n-7:]},
		{"longer than the file", map[string]string{"Range": fmt.Sprintf("bytes=5-%d", 10*n)}, 206, content[5:]},
		{"another unit", map[string]string{"Range": "lines=1-2"}, 200, content},
		{"beyond the end", map[string]string{"Range": fmt.Sprintf("bytes=%d-", n)}, 416, nil},
		{"the client has it", map[string]string{"If-None-Match": etag}, 304, nil},
		{"the client has it, weakly and among others", map[string]string{"If-None-Match": `"x", W/` + etag}, 304, nil},
		{"the client has any", map[string]string{"If-None-Match": "*"}, 304, nil},
		{"the client has another", map[string]string{"If-None-Match": `"x"`}, 200, content},
		{"the part is of this file", map[string]string{"Range": "bytes=0-9", "If-Range": etag}, 206, content[:10]},
		{"the part is of another file", map[string]string{"Range": "bytes=0-9", "If-Range": `"x"`}, 200, content},
		{"the wanted one", map[string]string{"If-Match": etag}, 200, content},
		{"another one is wanted", map[string]string{"If-Match": `"x"`}, 412, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				var options []daemontest.Option
				for name, value := range tc.headers {
					options = append(options, daemontest.Header(name, value))
				}
				status := tc.status
				if method == http.MethodHead && tc.headers["Range"] != "" { // which is for GET alone
					status = http.StatusOK
				}
				a := s.Request(method, path, nil, options...)
				if a.StatusCode != status {
					t.Fatalf("%s: got %s, want %d", method, a.Status, status)
				}
				if method == http.MethodGet && status < 400 && !bytes.Equal(a.Body, tc.body) {
					t.Errorf("got %d bytes, want %d others", len(a.Body), len(tc.body))
				}
				if status >= 400 {
					checkRefusal(t, a)
				} else if a.Header.Get("ETag") != etag {
					t.Errorf("ETag is %q, want %q", a.Header.Get("ETag"), etag)
				}
			}
		})
	}
	beyond := s.Get(path, daemontest.Header("Range", fmt.Sprintf("bytes=%d-", n)))
	beyond.CheckProblem(t, "range_not_satisfiable")
	if got, want := beyond.Header.Get("Content-Range"), fmt.Sprintf("bytes */%d", n); got != want {
		t.Errorf("Content-Range is %q, want %q", got, want)
	}
	s.Get(path, daemontest.Header("If-Match", `"x"`)).CheckProblem(t, "precondition_failed")
}

// checkRefusal checks that a cache cannot take an answer for one with the file.
func checkRefusal(t *testing.T, a daemontest.Answer) {
	t.Helper()
	for _, name := range []string{"ETag", "Repr-Digest", "Last-Modified"} {
		if a.Header.Get(name) != "" {
			t.Errorf("the refusal has the file's %s", name)
		}
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control of the refusal is %q, want no-store", got)
	}
}

func TestRangesThatAreSeveralComeAsParts(t *testing.T) {
	t.Parallel()
	s, m, path, content := published(t)
	a := s.Get(path, daemontest.Header("Range", "bytes=0-4,10-19"))
	mediaType, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || a.StatusCode != http.StatusPartialContent || mediaType != "multipart/byteranges" {
		t.Fatalf("got %s of %q, want 206 of multipart/byteranges", a.Status, a.Header.Get("Content-Type"))
	}
	parts := multipart.NewReader(bytes.NewReader(a.Body), params["boundary"])
	for _, want := range [][]byte{content[:5], content[10:20]} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(p)
		if err != nil || !bytes.Equal(got, want) || p.Header.Get("Content-Type") != m.Variants[0].ContentType {
			t.Errorf("got %x of %q (%v), want %x of %s", got, p.Header.Get("Content-Type"), err, want, m.Variants[0].ContentType)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("there is more than two parts: %v", err)
	}
}

// rawPath sends the path as it stands, without any cleaning.
func rawPath(path string) daemontest.Option {
	return func(r *http.Request) { r.URL.Opaque = "//" + r.URL.Host + path }
}

func TestFilesOfSetsAreAllThatCanBeRead(t *testing.T) {
	t.Parallel()
	s, m, path, _ := published(t)
	name := path[strings.LastIndexByte(path, '/')+1:]
	for file, content := range map[string]string{
		"secret.txt": "secret", "files/secret.txt": "secret", "files/.hidden": "secret", "files/" + m.ID + "/.hidden": "secret",
		"files/" + m.ID + "/other.webp": "secret", "files/.staging/secret.webp": "secret",
	} {
		if err := os.WriteFile(s.Path(file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := "/files/" + m.ID
	for _, path := range []string{
		"/files", "/files/", id, id + "/", "/files/.staging/", "/files/.staging/secret.webp", "/files/secret.txt", "/files/.hidden",
		id + "/.hidden", id + "/other.webp", id + "/64.png", id + "/064.webp", id + "/64.WEBP", id + "/" + name + "/", id + "/" + name + "%00",
		"/files/" + strings.ToUpper(m.ID) + "/" + name, "/files/" + strings.Repeat("a", 26) + "/" + name, "/files/../spool/x",
		id + "/..%2f..%2fsecret.txt", id + "/%2e%2e%2fsecret.txt", "/files/..%2f/secret.txt", "/files/%2e%2e/secret.txt", "/files/..%5c..%5csecret.txt/x",
		"/files/..%2f..%2fsecret.txt/x", "/files/.%2e/secret.txt", id + "/..;/secret.txt", id + "/%252e%252e%252fsecret.txt", id + "/../../secret.txt",
		"/files//" + m.ID + "/" + name, "/files/" + m.ID + "%2f" + name,
	} {
		a := s.Request(http.MethodGet, "/", nil, rawPath(path))
		if bytes.Contains(a.Body, []byte("secret")) && !bytes.Contains(a.Body, []byte(`"code"`)) {
			t.Errorf("GET %s gives %q", path, a.Body)
		}
		a.CheckProblem(t, "not_found")
	}
}

func TestFileThatWasRemovedByHandIsNotFound(t *testing.T) {
	t.Parallel()
	s, m, path, _ := published(t)
	if err := os.RemoveAll(s.Path("files", m.ID)); err != nil {
		t.Fatal(err)
	}
	s.Get(path).CheckProblem(t, "not_found")
}

func TestTokens(t *testing.T) {
	t.Parallel()
	tokens := func(c *config.Config) { c.Auth.Tokens = []config.Secret{"first-token", "second-token"} }
	s, m, path, _ := published(t, tokens)
	jobPath := submitWithToken(s, t)
	for _, tc := range []struct {
		name, authorization string
		ok                  bool
	}{
		{"none", "", false},
		{"wrong", "Bearer third-token", false},
		{"the beginning of one", "Bearer first", false},
		{"one and more", "Bearer first-tokens", false},
		{"empty", "Bearer ", false},
		{"another scheme", "Basic first-token", false},
		{"without a scheme", "first-token", false},
		{"the first", "Bearer first-token", true},
		{"after several spaces", "Bearer   first-token", true},
		{"the second", "Bearer second-token", true},
		{"a scheme in lower case", "bearer first-token", true},
		{"a scheme in upper case", "BEARER second-token", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			with := daemontest.Header("Authorization", tc.authorization)
			for _, r := range []struct{ method, path string }{
				{http.MethodGet, "/v1/images"},
				{http.MethodGet, "/v1/images/" + m.ID},
				{http.MethodGet, path},
				{http.MethodGet, "/files/" + m.ID + "/manifest.json"},
				{http.MethodGet, jobPath},
				{http.MethodGet, "/openapi.json"},
				{http.MethodPost, "/v1/images"},
				{http.MethodDelete, "/v1/images/" + strings.Repeat("a", 26)},
				{http.MethodPut, "/v1/images"},
				{http.MethodOptions, "/jobs"},
				{http.MethodGet, "/nothing"},
				{http.MethodGet, "/files/"},
			} {
				a := s.Request(r.method, r.path, nil, with)
				if !tc.ok {
					a.CheckProblem(t, "unauthorized")
				} else if a.StatusCode == http.StatusUnauthorized {
					t.Errorf("%s %s: got %s, want access", r.method, r.path, a.Status)
				}
			}
			for _, path := range []string{"/healthz", "/readyz"} {
				if a := s.Get(path, with); a.StatusCode != http.StatusOK {
					t.Errorf("GET %s: got %s, want 200 whatever the token", path, a.Status)
				}
			}
		})
	}
	for _, e := range s.Logs.All() {
		if line := e.Message + fmt.Sprint(e.ContextMap()); strings.Contains(line, "-token") {
			t.Errorf("a token is in the log: %s", line)
		}
	}
}

// submitWithToken makes a job and returns its path.
func submitWithToken(s *daemontest.Server, t *testing.T) string {
	t.Helper()
	_, thaw := s.Freeze()
	defer thaw()
	a := s.Upload(daemontest.SmallJPEG(t, 7), daemontest.Bearer(s.Config), daemontest.Header("Prefer", "respond-async"))
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("got %s %s, want 202", a.Status, a.Body)
	}
	return a.Header.Get("Location")
}

func TestRefusedUploadWithoutATokenLeavesNothing(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Auth.Tokens = []config.Secret{"secret-token"} })
	s.Upload(daemontest.BimgImage(t, "test.png")).CheckProblem(t, "unauthorized")
	s.CheckNothingLeft()
}

func TestPublicFilesNeedNoTokenAndAllElseDoes(t *testing.T) {
	t.Parallel()
	s, m, path, content := published(t, func(c *config.Config) {
		c.Auth.Tokens = []config.Secret{"secret-token"}
		c.Files.Public = true
	})
	for _, options := range [][]daemontest.Option{nil, {daemontest.Header("Authorization", "Bearer wrong")}} {
		if a := s.Get(path, options...); a.StatusCode != http.StatusOK || !bytes.Equal(a.Body, content) {
			t.Errorf("GET %s: got %s, want 200 with the file", path, a.Status)
		}
		s.Get("/v1/images/"+m.ID, options...).CheckProblem(t, "unauthorized")
		s.Get("/files/", options...).CheckProblem(t, "not_found")
		s.Request(http.MethodPost, "/healthz", nil, options...).CheckProblem(t, "method_not_allowed")
	}
}
