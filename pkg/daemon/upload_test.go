package daemon_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestUploadBecomesALadderAndAManifest(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Ladder.Widths = []int{64, 128, 2048} })
	for _, tc := range []struct {
		name string
		want daemontest.Expected
	}{
		{"exif/Landscape_6.jpg", daemontest.Expected{Format: "jpeg", Width: 1600, Height: 1200, Frames: 1}}, // stored as 1200 × 1600
		{"test_smart_crop.jpg", daemontest.Expected{Format: "jpeg", Width: 300, Height: 300, Frames: 1}},
		{"test.png", daemontest.Expected{Format: "png", Width: 400, Height: 300, Frames: 1}},
		{"test.webp", daemontest.Expected{Format: "webp", Width: 550, Height: 368, Frames: 1}},
		{"test2.heic", daemontest.Expected{Format: "heic", Width: 1440, Height: 960, Frames: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Source = daemontest.BimgImage(t, tc.name)
			a := s.Upload(tc.want.Source)
			m := a.Manifest(t, http.StatusCreated)
			if got, want := a.Header.Get("Location"), "/v1/images/"+m.ID; got != want {
				t.Errorf("Location is %q, want %q", got, want)
			}
			s.CheckManifest(m, tc.want)
			thumbhashText(t, a.Body)
			if got := s.Get(a.Header.Get("Location")); !bytes.Equal(got.Body, a.Body) {
				t.Errorf("GET of the Location gives\n%s, the upload gave\n%s", got.Body, a.Body)
			}
		})
	}
}

func TestLadderFormatsAreMadeInTheConfiguredOrder(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) {
		c.Ladder.Widths = []int{64}
		c.Ladder.Formats = []ladder.Format{ladder.AVIF, ladder.JPEG, ladder.WebP}
	})
	source := daemontest.BimgImage(t, "test.jpg")
	s.CheckManifest(s.Upload(source).Manifest(t, http.StatusCreated), daemontest.Expected{Source: source, Format: "jpeg", Width: 1680, Height: 1050, Frames: 1})
}

func TestFormIsTakenLikeARawBody(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := daemontest.BimgImage(t, "test.webp")
	contentType, form := daemontest.Form(t, daemontest.Part{Name: "picture", Filename: "cat.webp", Data: source})
	m := s.UploadForm(form, contentType).Manifest(t, http.StatusCreated)
	s.CheckManifest(m, daemontest.Expected{Source: source, Filename: "cat.webp", Format: "webp", Width: 550, Height: 368, Frames: 1})
	if again := s.Upload(source).Manifest(t, http.StatusOK); again.ID != m.ID {
		t.Errorf("raw, the same image is %s, in a form it was %s", again.ID, m.ID)
	}
}

func TestContentTypeIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := daemontest.BimgImage(t, "test_exif_canon.jpg")
	for i, contentType := range []string{"image/png", "text/html", "application/x-www-form-urlencoded", "junk;;;", ""} {
		a := s.Upload(append(source, byte(i)), daemontest.Header("Content-Type", contentType))
		if m := a.Manifest(t, http.StatusCreated); m.Source.Format != "jpeg" {
			t.Errorf("sent as %q, a JPEG is %s", contentType, m.Source.Format)
		}
	}
}

func TestRepeatedUploadIsNoWork(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := daemontest.SmallJPEG(t, 1)
	first := s.Upload(source)
	m := first.Manifest(t, http.StatusCreated)
	for range 3 {
		again := s.Upload(source)
		if diff := cmp.Diff(m, again.Manifest(t, http.StatusOK)); diff != "" {
			t.Errorf("the manifest differs (-first +again):\n%s", diff)
		}
		if got, want := again.Header.Get("Location"), "/v1/images/"+m.ID; got != want {
			t.Errorf("Location is %q, want %q", got, want)
		}
	}
	daemontest.Eventually(t, "one job counts as done", func() bool { return s.Metric(`optimizerd_jobs_total{result="ok"}`) > 0 })
	if n := s.Logged("published"); n != 1 {
		t.Errorf("%v sets were made, want 1", n)
	}
	s.CheckDir(m)
}

func TestUploadsThatAreIdenticalAreRenderedOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 20} {
		s := daemontest.Start(t, daemontest.OneCodec)
		_, thaw := s.Freeze() // until all are on their way
		source := daemontest.SmallJPEG(t, 2)
		var sent, done sync.WaitGroup
		answers := make([]daemontest.Answer, n)
		for i := range n {
			sent.Add(1)
			wrote := sync.OnceFunc(sent.Done)
			done.Go(func() {
				defer wrote()
				var err error
				answers[i], err = s.Try(http.MethodPost, "/v1/images", bytes.NewReader(source), func(r *http.Request) {
					trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { wrote() }}
					*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
				})
				if err != nil {
					t.Errorf("upload %d: %v", i, err)
				}
			})
		}
		sent.Wait()
		thaw()
		done.Wait()
		statuses := make(map[int]int)
		for _, a := range answers {
			statuses[a.StatusCode]++
			if !bytes.Equal(a.Body, answers[0].Body) {
				t.Errorf("two manifests:\n%s\n%s", a.Body, answers[0].Body)
			}
		}
		if statuses[http.StatusCreated] != 1 || statuses[http.StatusOK] != n-1 {
			t.Errorf("%d uploads: statuses %v, want one 201 and the others 200", n, statuses)
		}
		if s.Logged("published") != 1 {
			t.Errorf("%d uploads were processed %d times", n, s.Logged("published"))
		}
		s.CheckDir(answers[0].Manifest(t, http.StatusCreated, http.StatusOK))
	}
}

func TestUploadsOfDifferentImagesAtOnce(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Codec.Processes = 2 })
	var done sync.WaitGroup
	for i := range 12 {
		source := daemontest.SmallJPEG(t, uint64(100+i))
		done.Go(func() {
			a, err := s.Try(http.MethodPost, "/v1/images", bytes.NewReader(source))
			if err != nil || a.StatusCode != http.StatusCreated {
				t.Errorf("upload %d: %v %s", i, err, a.Body)
			}
		})
	}
	done.Wait()
	if n := len(s.Names("files")); n != 12+1 { // and .staging
		t.Errorf("%d folders, want 13", n)
	}
}

func TestContentDigestIsVerified(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	sha256Of := func(b []byte) string {
		d := sha256.Sum256(b)
		return base64.StdEncoding.EncodeToString(d[:])
	}
	sha512Of := func(b []byte) string {
		d := sha512.Sum512(b)
		return base64.StdEncoding.EncodeToString(d[:])
	}
	for i, tc := range []struct {
		name   string
		digest func(body []byte) string
		code   string // "" is accepted
	}{
		{"right", func(b []byte) string { return "sha-256=:" + sha256Of(b) + ":" }, ""},
		{"right, beside another algorithm", func(b []byte) string { return "sha-512=:" + sha512Of(b) + ":, sha-256=:" + sha256Of(b) + ":" }, ""},
		{"only another algorithm", func([]byte) string { return "sha-512=:" + sha512Of([]byte("else")) + ":" }, ""},
		{"of other bytes", func([]byte) string { return "sha-256=:" + sha256Of([]byte("else")) + ":" }, "digest_mismatch"},
		{"too short", func([]byte) string { return "sha-256=:aGVsbG8=:" }, "invalid_request"},
		{"not base64", func([]byte) string { return "sha-256=:!!!:" }, "invalid_request"},
		{"without colons", func(b []byte) string { return "sha-256=" + sha256Of(b) }, "invalid_request"},
		{"a number", func([]byte) string { return "sha-256=17" }, "invalid_request"},
		{"not a dictionary", func([]byte) string { return "=?=" }, "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			source := daemontest.SmallJPEG(t, uint64(200+i))
			contentType, form := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "a.jpg", Data: append(source, 0)})
			for kind, a := range map[string]daemontest.Answer{
				"raw":  s.Upload(source, daemontest.Header("Content-Digest", tc.digest(source))),
				"form": s.UploadForm(form, contentType, daemontest.Header("Content-Digest", tc.digest(form))),
			} {
				if tc.code != "" {
					a.CheckProblem(t, tc.code)
				} else if a.StatusCode != http.StatusCreated {
					t.Errorf("%s: got %s %s, want 201", kind, a.Status, a.Body)
				}
			}
			s.CheckEmpty("spool")
		})
	}
	if n := s.Logged("published"); n != 6 {
		t.Errorf("%d sets were made, want the 6 of the accepted ones", n)
	}
}

func TestFilenameIsKeptToBeShownAndNothingElse(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	for i, tc := range []struct{ sent, want string }{
		{"cat.jpg", "cat.jpg"},
		{"Ünïcödé 猫.jpg", "Ünïcödé 猫.jpg"},
		{"../../x", "x"},
		{"../../../etc/passwd", "passwd"},
		{`C:\Users\me\x.jpg`, "x.jpg"},
		{"/", ""},
		{"a\x00b\x1b[31mc\r\nd\x7f.jpg", "ab[31mcd.jpg"},
		{"gpj.\u202eevil\u2066.exe", "gpj.evil.exe"},
		{"bad\xff\xfeutf8.jpg", "badutf8.jpg"},
		{strings.Repeat("x", 300), strings.Repeat("x", 255)},
		{strings.Repeat("ü", 300), strings.Repeat("ü", 127)},
	} {
		source := daemontest.SmallJPEG(t, uint64(300+i))
		a := s.Request(http.MethodPost, "/v1/images?filename="+url.QueryEscape(tc.sent), bytes.NewReader(source))
		if got := a.Manifest(t, http.StatusCreated).Source.Filename; got != tc.want {
			t.Errorf("filename=%q is kept as %q, want %q", tc.sent, got, tc.want)
		}
		if strings.ContainsAny(tc.sent, "\r\n\x00") {
			continue // such a part cannot be sent
		}
		contentType, form := daemontest.Form(t, daemontest.Part{Name: "f", Filename: tc.sent, Data: append(source, 0)})
		if got := s.UploadForm(form, contentType).Manifest(t, http.StatusCreated).Source.Filename; got != tc.want && tc.sent != "/" {
			t.Errorf("a part's filename %q is kept as %q, want %q", tc.sent, got, tc.want)
		}
	}
}

func TestFormMustBeOneFile(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	good := daemontest.BimgImage(t, "test_exif_canon.jpg")
	form := func(parts ...daemontest.Part) func() (string, []byte) {
		return func() (string, []byte) { return daemontest.Form(t, parts...) }
	}
	cut := func(n int) func() (string, []byte) {
		return func() (string, []byte) {
			contentType, b := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "a.jpg", Data: good})
			return contentType, b[:len(b)-n]
		}
	}
	for _, tc := range []struct {
		name string
		form func() (contentType string, body []byte)
	}{
		{"no part", form()},
		{"two files", form(daemontest.Part{Name: "a", Filename: "a.jpg", Data: good}, daemontest.Part{Name: "b", Filename: "b.jpg", Data: good})},
		{"a text field", form(daemontest.Part{Name: "a", Filename: "", Data: good})},
		{"an empty file", form(daemontest.Part{Name: "a", Filename: "a.jpg", Data: nil})},
		{"no closing boundary", cut(40)},
		{"cut within the file", cut(2000)},
		{"another boundary than declared", func() (string, []byte) {
			_, b := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "a.jpg", Data: good})
			return "multipart/form-data; boundary=else", b
		}},
		{"no boundary declared", func() (string, []byte) {
			_, b := daemontest.Form(t, daemontest.Part{Name: "f", Filename: "a.jpg", Data: good})
			return "multipart/form-data", b
		}},
		{"nothing", func() (string, []byte) { return "multipart/form-data; boundary=b", nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			contentType, body := tc.form()
			s.UploadForm(body, contentType).CheckProblem(t, "invalid_request")
			s.CheckNothingLeft()
		})
	}
	s.CheckServes()
}

func TestQueryParameterThatNobodyKnowsIsAnError(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	for _, path := range []string{"/v1/images?width=100", "/v1/images?filename=a&Filename=b"} {
		p := s.Request(http.MethodPost, path, bytes.NewReader(daemontest.BimgImage(t, "test_exif_canon.jpg"))).CheckProblem(t, "invalid_request")
		if !strings.Contains(p.Detail, "query parameter") {
			t.Errorf("detail %q does not say what is wrong", p.Detail)
		}
	}
	s.Get("/v1/images?page=2").CheckProblem(t, "invalid_request")
	s.CheckNothingLeft()
}

func TestURLsAreAbsoluteByRequestHostOrPublicURL(t *testing.T) {
	t.Parallel()
	host := func(r *http.Request) { r.Host = "images.local:8080" }
	forwarded := func(r *http.Request) {
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-Host", "img.example.com")
	}
	badProto := func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "javascript") }
	badHost := func(r *http.Request) { r.Header.Set("X-Forwarded-Host", "evil.example/path?") }
	appended := func(r *http.Request) { // Apache adds its own to what the client sent
		r.Header["X-Forwarded-Host"] = []string{"evil.example", "other.example, img.example.com:8443"}
	}
	for _, tc := range []struct {
		name   string
		change func(*config.Config)
		option daemontest.Option
		want   string // of the URLs; "" is the daemon's own address
	}{
		{"the request's host", func(c *config.Config) { c.HTTP.AllowedHosts = []string{"images.local"} }, host, "http://images.local:8080"},
		{"nobody is trusted", func(*config.Config) {}, forwarded, ""},
		{"another network is trusted", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"10.0.0.0/8"} }, forwarded, ""},
		{"the proxy is trusted", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"10.0.0.0/8", "127.0.0.1/32"} }, forwarded, "https://img.example.com"},
		{"a trusted proxy gives another scheme", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"127.0.0.1/32"} }, badProto, ""},
		{"a trusted proxy gives what is no host", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"127.0.0.1/32"} }, badHost, ""},
		{"a trusted proxy adds to a list", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"127.0.0.1/32"} }, appended, "http://img.example.com:8443"},
		{"public_url wins", func(c *config.Config) {
			c.HTTP.PublicURL, c.HTTP.TrustedProxies = "https://cdn.example.org/img/", []string{"127.0.0.1/32"}
		}, forwarded, "https://cdn.example.org/img"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := daemontest.Start(t, tc.change)
			want := tc.want
			if want == "" {
				want = s.URL
			}
			m := s.Upload(daemontest.SmallJPEG(t, 4), tc.option).Manifest(t, http.StatusCreated)
			for _, v := range m.Variants {
				if v.URL != want+"/files/"+v.Key {
					t.Errorf("url is %s, want %s/files/%s", v.URL, want, v.Key)
				}
			}
			if diff := cmp.Diff(m, s.Get("/v1/images/"+m.ID, tc.option).Manifest(t, http.StatusOK)); diff != "" {
				t.Errorf("the manifest differs (-upload +GET):\n%s", diff)
			}
		})
	}
}

// HTTP/1.0 knows no Host, and HTTP/1.1 allows an empty one.
func TestURLsAreAbsoluteWhateverTheHost(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Auth.Tokens = []config.Secret{"secret-token"} })
	m := s.Upload(daemontest.SmallJPEG(t, 4), daemontest.Bearer(s.Config)).Manifest(t, http.StatusCreated)
	for name, head := range map[string]string{
		"none":           " HTTP/1.0\r\n",
		"an empty one":   " HTTP/1.1\r\nHost:\r\n",
		"a bad port":     " HTTP/1.1\r\nHost: images.local:port\r\n",
		"half a bracket": " HTTP/1.1\r\nHost: [::1\r\n",
		"a list":         " HTTP/1.1\r\nHost: a.example,b.example\r\n",
	} {
		w := s.Dial(t)
		w.Send([]byte("GET /v1/images/" + m.ID + head + "Authorization: Bearer secret-token\r\n\r\n"))
		res, err := http.ReadResponse(w.R, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		got := daemontest.Answer{Response: res, Body: body}.Manifest(t, http.StatusOK)
		if want := s.URL + "/files/" + got.Variants[0].Key; got.Variants[0].URL != want {
			t.Errorf("%s: url is %s, want %s", name, got.Variants[0].URL, want)
		}
	}
}

func TestAnotherRecipeGivesAnotherSet(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	source := daemontest.SmallJPEG(t, 5)
	first := s.Upload(source).Manifest(t, http.StatusCreated)
	s.Stop()
	other := daemontest.Start(t, s.SameDir, func(c *config.Config) { c.Ladder.Quality.JPEG = 50 })
	second := other.Upload(source).Manifest(t, http.StatusCreated)
	if first.ID == second.ID || first.Recipe == second.Recipe {
		t.Errorf("ids %s and %s, recipes %s and %s; want both to differ", first.ID, second.ID, first.Recipe, second.Recipe)
	}
	if a := other.Get("/files/" + first.Variants[0].Key); a.StatusCode != http.StatusOK {
		t.Errorf("the old URL gives %s, want 200", a.Status)
	}
}

func TestManifestSaysWhenAPhotoWasTaken(t *testing.T) {
	t.Parallel()
	photo := daemontest.BimgImage(t, "test_exif_canon.jpg") // names no zone
	for keep, want := range map[bool]string{true: "2008-05-30T15:56:01", false: ""} {
		s := daemontest.Start(t, func(c *config.Config) { c.Storage.KeepTakenAt = keep })
		if m := s.Upload(photo).Manifest(t, http.StatusCreated); m.Source.TakenAt != want {
			t.Errorf("storage.keep_taken_at %v: taken at %q, want %q", keep, m.Source.TakenAt, want)
		}
	}
}
