package daemon_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// variantJob is a job whose output is one image.
type variantJob struct {
	ID, Object, Kind, Status, Input string
	Options                         json.RawMessage
	Metadata                        json.RawMessage
	Output                          *variantOutput
	Error                           *struct {
		Code, Message string
	}
	Attempts   int
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

type variantOutput struct {
	URL           string
	Width, Height int
	Format        ladder.Format
	ContentType   string `json:"content_type"`
	Bytes         int64
	SHA256        string
}

// originOf serves content at every path until the end of the test.
func originOf(t *testing.T, content []byte) *httptest.Server {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/jpeg")
		_, _ = w.Write(content)
	}))
	t.Cleanup(origin.Close)
	return origin
}

// withToken lets in nobody without one.
func withToken(c *config.Config) { c.Auth.Tokens = []config.Secret{"secret"} }

// create posts a job and decodes the answer into v.
func create(s *daemontest.Server, v any, body string, options ...daemontest.Option) daemontest.Answer {
	s.T.Helper()
	a := s.PostJob(body, options...)
	a.Decode(s.T, v, http.StatusAccepted)
	return a
}

// endOf waits for a job of one image by long poll.
func endOf(s *daemontest.Server, id string, options ...daemontest.Option) variantJob {
	s.T.Helper()
	deadline := time.Now().Add(daemontest.Patience)
	for {
		var j variantJob
		s.Get("/jobs/"+id, append(options, daemontest.Header("Prefer", "wait=5"))...).Decode(s.T, &j, http.StatusOK)
		if j.FinishedAt != nil {
			return j
		}
		if time.Now().After(deadline) {
			s.T.Fatalf("job %s is still %s after %v", id, j.Status, daemontest.Patience)
		}
	}
}

// hostedClient does just what Workers for hosted job APIs do: create a job, ask
// for it again and again, fetch what it made. Of this server it knows a base
// URL and a key.
type hostedClient struct{ base, key string }

func (c hostedClient) call(method, path, body string, v any) error {
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(v)
}

func (c hostedClient) optimize(input string, options map[string]any) (contentType string, picture []byte, err error) {
	body, err := json.Marshal(map[string]any{"input": input, "kind": "image", "options": options})
	if err != nil {
		return "", nil, err
	}
	var j variantJob
	if err := c.call(http.MethodPost, "/jobs", string(body), &j); err != nil {
		return "", nil, err
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(daemontest.Patience); time.Now().Before(deadline); <-poll.C {
		if err := c.call(http.MethodGet, "/jobs/"+j.ID, "", &j); err != nil {
			return "", nil, err
		}
		if j.Status == "failed" {
			return "", nil, errors.New(j.Error.Message)
		}
		if j.Status == "completed" {
			res, err := http.Get(j.Output.URL) // without the key
			if err != nil {
				return "", nil, err
			}
			defer res.Body.Close()
			picture, err := io.ReadAll(res.Body)
			if err == nil && res.StatusCode != http.StatusOK {
				err = fmt.Errorf("GET output.url: %s", res.Status)
			}
			return res.Header.Get("Content-Type"), picture, err
		}
	}
	return "", nil, fmt.Errorf("not done after %v", daemontest.Patience)
}

func TestClientOfHostedJobAPIsNeedsOnlyAnotherBaseAndKey(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome, withToken)
	origin := originOf(t, daemontest.BimgImage(t, "test.webp")) // 550 × 368
	client := hostedClient{s.URL, "secret"}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	var mu sync.Mutex
	sizes := make(map[string]int)
	var group sync.WaitGroup
	for _, format := range []ladder.Format{ladder.WebP, ladder.JPEG, ladder.AVIF} {
		for _, quality := range []string{"low", "medium", "high"} {
			for _, width := range []int{0, 200} {
				group.Go(func() {
					options := map[string]any{"format": format, "quality": quality}
					wide, high := 550, 368
					if width > 0 {
						options["width"] = width
						wide, high = 200, 134
					}
					contentType, made, err := client.optimize(origin.URL+"/photo-abc123.jpg", options)
					if err != nil || contentType != "image/"+string(format) {
						t.Errorf("%v: got %q, %v", options, contentType, err)
						return
					}
					if err := daemontest.CheckFormat(format, made, wide, high); err != nil {
						t.Errorf("%v: %v", options, err)
					}
					mu.Lock()
					defer mu.Unlock()
					sizes[fmt.Sprint(format, width, quality)] = len(made)
				})
			}
		}
	}
	group.Wait()
	for _, of := range []string{"webp0", "webp200", "jpeg0", "jpeg200", "avif0", "avif200"} {
		if low, medium, high := sizes[of+"low"], sizes[of+"medium"], sizes[of+"high"]; low >= medium || medium >= high {
			t.Errorf("%s: low, medium and high quality take %d, %d and %d bytes", of, low, medium, high)
		}
	}
}

func TestJobByURLIsShownAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome)
	origin := originOf(t, daemontest.BimgImage(t, "test.webp"))
	var j variantJob
	a := create(s, &j, `{"input": "`+origin.URL+`/cat.webp?a=b", "options": {"width": 300, "height": 50, "format": "jpeg", "quality": 77}, "metadata": {"album": ["a", 1.50, null]}}`)
	if got, want := a.Header.Get("Location"), "/jobs/"+j.ID; got != want {
		t.Errorf("Location is %q, want %q", got, want)
	}
	j = endOf(s, j.ID)
	shown := []string{j.Object, j.Kind, j.Input, string(j.Options), string(j.Metadata)}
	asked := []string{"job", "image", origin.URL + "/cat.webp?a=b", `{"width":300,"height":50,"format":"jpeg","quality":77}`, `{"album":["a",1.50,null]}`}
	if !slices.Equal(shown, asked) {
		t.Errorf("it is shown as %q, want %q", shown, asked)
	}
	if j.Status != "completed" || j.Error != nil || j.Output == nil || j.Attempts != 1 {
		t.Fatalf("it is %+v, error %+v", j, j.Error)
	}
	o := *j.Output
	made := s.Get(o.URL)
	digest := sha256.Sum256(made.Body)
	want := variantOutput{URL: o.URL, Width: 75, Height: 50, Format: "jpeg", ContentType: "image/jpeg", Bytes: int64(len(made.Body)), SHA256: hex.EncodeToString(digest[:])}
	if o != want {
		t.Errorf("output %+v, want %+v", o, want)
	}
	if err := daemontest.CheckFormat(o.Format, made.Body, 75, 50); err != nil {
		t.Error(err)
	}
	id := strings.Split(strings.TrimPrefix(o.URL, s.URL+"/files/"), "/")[0]
	m := s.Get("/v1/images/"+id).Manifest(t, http.StatusOK)
	if len(m.Variants) != 1 || m.Variants[0].Key != id+"/75.jpg" || m.Source.Filename != "cat.webp" || m.Source.Format != "webp" {
		t.Errorf("its manifest is %+v", m)
	}
	s.CheckDir(m)
}

func TestJobWithoutSizeAndFormatIsALadder(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome)
	source := daemontest.BimgImage(t, "test.webp")
	origin := originOf(t, source)
	var created variantJob
	create(s, &created, `{"input": "`+origin.URL+`/cat.webp"}`)
	j := s.AwaitJob(created.ID)
	if j.Status != "completed" || j.Output == nil {
		t.Fatalf("it is %+v, %+v", j, j.Error)
	}
	s.CheckManifest(j.Output.Manifest, daemontest.Expected{Source: source, Filename: "cat.webp", Format: "webp", Width: 550, Height: 368, Frames: 1})
	if got := s.Get(j.Output.URL).Manifest(t, http.StatusOK); got.ID != j.Output.Manifest.ID {
		t.Errorf("output.url gives the manifest of %s, want %s", got.ID, j.Output.Manifest.ID)
	}
	// An upload of the same bytes is the same set.
	if m := s.Upload(source).Manifest(t, http.StatusOK); m.ID != j.Output.Manifest.ID {
		t.Errorf("an upload gives %s, the job %s", m.ID, j.Output.Manifest.ID)
	}
}

func TestBadJobsAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	long := strings.Repeat("x", 5000)
	for body, want := range map[string]string{
		``:                                       "invalid_request",
		`{`:                                      "invalid_request",
		`[]`:                                     "invalid_request",
		`null`:                                   "invalid_request",
		`{}`:                                     "invalid_request",
		`{"input": ""}`:                          "invalid_request",
		`{"input": 5}`:                           "invalid_request",
		`{"input": "cat.jpg"}`:                   "invalid_request",
		`{"input": "//example.com/a"}`:           "invalid_request",
		`{"input": "ftp://example.com/a"}`:       "invalid_request",
		`{"input": "file:///etc/passwd"}`:        "invalid_request",
		`{"input": "https:///a"}`:                "invalid_request",
		`{"input": "https://u:p@example.com/a"}`: "invalid_request",
		`{"input": "https://example.com/` + long + `"}`:                                             "invalid_request",
		`{"input": "image:../../etc/passwd"}`:                                                       "invalid_request",
		`{"input": "image:"}`:                                                                       "invalid_request",
		`{"input": "image:aaaaaaaaaaaaaaaaaaaaaaaaaa"}`:                                             "not_found",
		`{"input": "https://example.com/a", "surprise": 1}`:                                         "invalid_request",
		`{"input": "https://example.com/a", "kind": "video"}`:                                       "invalid_request",
		`{"input": "https://example.com/a"} {}`:                                                     "invalid_request",
		`{"input": "https://example.com/a", "options": []}`:                                         "invalid_request",
		`{"input": "https://example.com/a", "options": {"wide": 5}}`:                                "invalid_request",
		`{"input": "https://example.com/a", "options": {"width": 0}}`:                               "invalid_request",
		`{"input": "https://example.com/a", "options": {"width": 1e3}}`:                             "invalid_request",
		`{"input": "https://example.com/a", "options": {"format": "png"}}`:                          "invalid_request",
		`{"input": "https://example.com/a", "options": {"quality": "best"}}`:                        "invalid_request",
		`{"input": "https://example.com/a", "options": {"width": 2049}}`:                            "invalid_options",
		`{"input": "https://example.com/a", "metadata": []}`:                                        "invalid_request",
		`{"input": "https://example.com/a", "metadata": {"a": "` + long + `"}}`:                     "invalid_request",
		`{"input": "https://example.com/a", "webhook_url": "https://example.com/"}`:                 "invalid_request", // no secrets
		`{"input": "https://example.com/a", "metadata": {"a": "` + strings.Repeat(long, 20) + `"}}`: "too_large",
	} {
		a := s.PostJob(body)
		if p := a.CheckProblem(t, want); strings.Contains(p.Detail, "json:") {
			t.Errorf("%.60s: the detail is the library's: %s", body, p.Detail)
		}
	}
	s.Request(http.MethodPost, "/jobs?wait=5", strings.NewReader(`{"input": "https://example.com/a"}`)).CheckProblem(t, "invalid_request")
	s.CheckNothingLeft()
}

func TestJobsThatAreEqualAreOneUntilItEnds(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome)
	asked, answer := make(chan struct{}), make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-answer
		_, _ = w.Write(daemontest.SmallJPEG(t, 21))
	}))
	t.Cleanup(origin.Close)
	body := `{"input": "` + origin.URL + `/a.jpg", "options": {"width": 40}}`
	var first, second, third variantJob
	create(s, &first, body)
	<-asked
	create(s, &second, `{"options": {"width":40}, "metadata": {"mine": true}, "input": "`+origin.URL+`/a.jpg"}`)
	if second.ID != first.ID || second.Status != "processing" || string(second.Metadata) != "{}" {
		t.Errorf("an equal job is %+v, want %s as reported to its first client", second, first.ID)
	}
	close(answer)
	endOf(s, first.ID)
	go func() { <-asked }()
	create(s, &third, body)
	if third.ID == first.ID {
		t.Error("after its end an equal job is still the old one")
	}
	if j := endOf(s, third.ID); j.Status != "completed" {
		t.Errorf("it is %+v, %+v", j, j.Error)
	}
	if n := s.Logged("published"); n != 1 {
		t.Errorf("%d sets were made for one image", n)
	}
}

func TestOriginFailuresHaveCodesOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome, func(c *config.Config) {
		c.Limits.MaxBytes = 1 << 20
		c.Limits.MaxPixels = 1 << 20
	})
	answers := map[string]http.HandlerFunc{
		"/404":  http.NotFound,
		"/403":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"/500":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"/html": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!doctype html><title>Not a cat</title>") },
		"/large": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append(daemontest.SmallJPEG(t, 1), make([]byte, 2<<20)...))
		},
		"/cut": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(jpegHeader(t, daemontest.BimgImage(t, "test_exif_canon.jpg")))
		},
		"/wide": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(withJPEGSize(t, daemontest.SmallJPEG(t, 2), 4000, 4000))
		},
		"/loop": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) },
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w, r) }))
	t.Cleanup(origin.Close)
	want := map[string]string{
		origin.URL + "/404": "input_not_found", origin.URL + "/403": "input_refused", origin.URL + "/500": "input_unavailable",
		origin.URL + "/html": "unsupported_format", origin.URL + "/large": "too_large", origin.URL + "/cut": "corrupt_image",
		origin.URL + "/wide": "too_many_pixels", origin.URL + "/loop": "input_refused", "http://127.0.0.1:1/": "input_unavailable",
	}
	ids := make(map[string]string)
	for input := range want {
		var j variantJob
		create(s, &j, `{"input": "`+input+`", "options": {"format": "webp"}}`)
		ids[input] = j.ID
	}
	for input, code := range want {
		j := endOf(s, ids[input])
		if j.Status != "failed" || j.Output != nil || j.Error == nil || j.Error.Code != code || strings.Contains(j.Error.Message, "127.0.0.1") {
			t.Errorf("%s: it is %s, %+v, want failed, %s", input, j.Status, j.Error, code)
		}
	}
	s.CheckEmpty("spool")
}

func TestJobsDoNotReachTheHomeNetwork(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Fetch.AllowHTTP = true })
	victim, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { victim.Close() })
	go func() {
		if conn, err := victim.Accept(); err == nil {
			t.Errorf("%v got through", conn.RemoteAddr())
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(victim.Addr().String())
	for _, host := range []string{"127.0.0.1:" + port, "localhost:" + port, "[::ffff:127.0.0.1]:" + port, "127.0.0.1", "localhost", "169.254.169.254", "[fe80::1]", "10.0.0.1", "192.168.1.1"} {
		var j variantJob
		create(s, &j, `{"input": "http://`+host+`/admin"}`)
		if j := endOf(s, j.ID); j.Error == nil || j.Error.Code != "input_forbidden" {
			t.Errorf("%s: %s, %+v; want input_forbidden", host, j.Status, j.Error)
		}
	}
}

func TestStoredImageIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Storage.KeepOriginals = true })
	m := s.Upload(daemontest.BimgImage(t, "test.webp")).Manifest(t, http.StatusCreated)
	if got := s.Names("originals"); len(got) != 1 || got[0] != m.ID {
		t.Errorf("originals are %v, want %s", got, m.ID)
	}
	var j variantJob
	create(s, &j, `{"input": "image:`+m.ID+`", "options": {"width": 100, "format": "avif"}}`)
	j = endOf(s, j.ID)
	if j.Status != "completed" || j.Output.Width != 100 || j.Output.Format != "avif" || j.Input != "image:"+m.ID {
		t.Fatalf("it is %+v, %+v", j, j.Error)
	}
	published := s.Logged("published")
	var again variantJob
	create(s, &again, `{"input": "image:`+m.ID+`", "options": {"width": 100, "format": "avif"}}`)
	if again := endOf(s, again.ID); again.Status != "completed" || again.Output.SHA256 != j.Output.SHA256 || s.Logged("published") != published {
		t.Errorf("requested again it is %+v, and was made again", again)
	}
	if a := s.Request(http.MethodDelete, "/v1/images/"+m.ID, nil); a.StatusCode != http.StatusNoContent {
		t.Fatal(a.Status)
	}
	s.PostJob(`{"input": "image:`+m.ID+`"}`).CheckProblem(t, "not_found")
	if left := s.Names("originals"); len(left) > 0 {
		t.Errorf("the originals %v outlive the image", left)
	}
	_, file, _ := strings.Cut(j.Output.URL, "/files/")
	if a := s.Get("/v1/images/" + file[:len(m.ID)]); a.StatusCode != http.StatusNotFound {
		t.Errorf("the variant that was made of the image outlives it: %s", a.Status)
	}
}

func TestStoredImageWithoutAnOriginalCannotBeMadeAgain(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	m := s.Upload(daemontest.SmallJPEG(t, 31)).Manifest(t, http.StatusCreated)
	p := s.PostJob(`{"input": "image:`+m.ID+`"}`).CheckProblem(t, "not_found")
	if !strings.Contains(p.Detail, "keep_originals") {
		t.Errorf("the detail %q does not say what to do", p.Detail)
	}
}

func TestSignedURLsNeedNoTokenUntilTheyExpire(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome, withToken)
	origin := originOf(t, daemontest.SmallJPEG(t, 41))
	var j variantJob
	create(s, &j, `{"input": "`+origin.URL+`", "options": {"format": "webp"}}`, daemontest.Bearer(s.Config))
	j = endOf(s, j.ID, daemontest.Bearer(s.Config))
	signed, err := url.Parse(j.Output.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		if a := s.Request(method, signed.String(), nil); a.StatusCode != http.StatusOK {
			t.Errorf("%s of a signed URL: got %s, want 200", method, a.Status)
		}
	}
	if a := s.Get(signed.String(), daemontest.Header("Range", "bytes=0-9")); a.StatusCode != http.StatusPartialContent {
		t.Errorf("a range of a signed URL: got %s, want 206", a.Status)
	}
	change := func(f func(q url.Values)) string {
		u := *signed
		q := u.Query()
		f(q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	for name, forged := range map[string]string{
		"no signature":   change(func(q url.Values) { q.Del("sig"); q.Del("exp") }),
		"only an expiry": change(func(q url.Values) { q.Del("sig") }),
		"later expiry":   change(func(q url.Values) { q.Set("exp", "99999999999") }),
		"expired":        change(func(q url.Values) { q.Set("exp", "1000000000") }),
		"another path":   strings.Replace(signed.String(), ".webp", ".jpg", 1),
		"the manifest":   strings.Replace(signed.String(), "80.webp", "manifest.json", 1),
	} {
		if p := s.Get(forged).CheckProblem(t, "unauthorized"); name == "expired" && !strings.Contains(p.Detail, "expired") {
			t.Errorf("%s: the detail is %q", name, p.Detail)
		}
		if a := s.Get(forged, daemontest.Bearer(s.Config)); a.StatusCode == http.StatusUnauthorized {
			t.Errorf("%s, with a token: got %s", name, a.Status)
		}
	}
	s.Get("/v1/images?"+signed.RawQuery).CheckProblem(t, "unauthorized")

	s.Stop()
	s = daemontest.Start(t, s.SameDir, atHome, withToken)
	moved := s.URL + signed.RequestURI()
	if a := s.Get(moved); a.StatusCode != http.StatusOK {
		t.Errorf("a signed URL after a restart: got %s, want 200", a.Status)
	}
}

func TestURLsOfPublicFilesAndOpenServersAreNotSigned(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Config){
		"public files":         func(c *config.Config) { withToken(c); c.Files.Public = true },
		"a server for anybody": func(*config.Config) {},
	} {
		s := daemontest.Start(t, atHome, change)
		origin := originOf(t, daemontest.SmallJPEG(t, 42))
		var j variantJob
		create(s, &j, `{"input": "`+origin.URL+`", "options": {"format": "webp"}}`, daemontest.Header("Authorization", "Bearer secret"))
		j = endOf(s, j.ID, daemontest.Header("Authorization", "Bearer secret"))
		if !strings.HasSuffix(j.Output.URL, "/80.webp") {
			t.Errorf("%s: output.url is %s", name, j.Output.URL)
		}
		if a := s.Get(j.Output.URL); a.StatusCode != http.StatusOK {
			t.Errorf("%s: it gives %s", name, a.Status)
		}
	}
}

func TestJobIsShownUnderThePublicURL(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome, func(c *config.Config) { c.HTTP.PublicURL = "https://img.example.com/" })
	origin := originOf(t, daemontest.SmallJPEG(t, 43))
	var j variantJob
	create(s, &j, `{"input": "`+origin.URL+`", "options": {"format": "webp"}}`)
	if j = endOf(s, j.ID); !strings.HasPrefix(j.Output.URL, "https://img.example.com/files/") {
		t.Errorf("output.url is %s", j.Output.URL)
	}
}

func TestVisitorsImageOvertakesABatchOfLadders(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome, daemontest.OneCodec, func(c *config.Config) { c.Ladder.Widths = []int{64, 128} })
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(daemontest.JPEG(t, daemontest.Noise(uint64(len(r.URL.Path)), 200, 150), 80))
	}))
	t.Cleanup(origin.Close)
	const batch = 12
	_, thaw := s.Freeze()
	var ladders []string
	for i := range batch {
		var j variantJob
		create(s, &j, `{"input": "`+origin.URL+strings.Repeat("/x", i+1)+`"}`)
		ladders = append(ladders, j.ID)
	}
	s.AwaitJobs(1, batch-1)
	var visitor variantJob
	create(s, &visitor, `{"input": "`+origin.URL+`/visitor/of/the/page", "options": {"width": 100}}`)
	daemontest.Eventually(t, "the visitor's picture is fetched", func() bool {
		return s.Logs.FilterMessage("job resolved").Filter(withField("job_id", visitor.ID)).Len() == 1
	})
	thaw()
	visitor = endOf(s, visitor.ID)
	if visitor.Status != "completed" {
		t.Fatalf("it is %+v, %+v", visitor, visitor.Error)
	}
	finished := visitor.FinishedAt
	before := 0
	for _, id := range ladders {
		j := s.AwaitJob(id)
		if j.Status != "completed" {
			t.Errorf("a ladder of the batch is %+v, %+v", j, j.Error)
		} else if j.FinishedAt.Before(*finished) {
			before++
		}
	}
	if before > 3 {
		t.Errorf("the visitor waited for %d of %d ladders", before, batch)
	}
}

func TestStopDuringAFetchLosesNothing(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, atHome)
	asked := make(chan struct{}, 10)
	hold := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-hold:
			_, _ = w.Write(daemontest.SmallJPEG(t, 51))
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(origin.Close)
	var j variantJob
	create(s, &j, `{"input": "`+origin.URL+`", "options": {"format": "webp"}}`)
	<-asked
	s.Stop()
	close(hold)
	s = daemontest.Start(t, s.SameDir, atHome)
	if j := endOf(s, j.ID); j.Status != "completed" || j.Attempts != 1 {
		t.Errorf("after a restart it is %+v, %+v", j, j.Error)
	}
}
