package daemon_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"mime/multipart"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestAnUploadBecomesALadderAndAManifest(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config.Config) { c.Ladder.Widths = []int{64, 128, 2048} })
	for _, tc := range []struct {
		name string
		want expected
	}{
		{"exif/Landscape_6.jpg", expected{format: "jpeg", width: 1600, height: 1200, frames: 1}}, // stored as 1200 × 1600
		{"test_smart_crop.jpg", expected{format: "jpeg", width: 300, height: 300, frames: 1}},
		{"test.png", expected{format: "png", width: 400, height: 300, frames: 1}},
		{"test.webp", expected{format: "webp", width: 550, height: 368, frames: 1}},
		{"test2.heic", expected{format: "heic", width: 1440, height: 960, frames: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.source = picture(t, tc.name)
			a := s.upload(tc.want.source)
			m := a.manifestOf(t, http.StatusCreated)
			if got, want := a.Header.Get("Location"), "/v1/images/"+m.ID; got != want {
				t.Errorf("Location is %q, want %q", got, want)
			}
			s.holds(m, tc.want)
			thumbhashText(t, a.body)
			if got := s.get(a.Header.Get("Location")); !bytes.Equal(got.body, a.body) {
				t.Errorf("GET of the Location gives\n%s, the upload gave\n%s", got.body, a.body)
			}
		})
	}
}

func TestEveryFormatOfTheLadderIsMadeInTheConfiguredOrder(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config.Config) {
		c.Ladder.Widths = []int{64}
		c.Ladder.Formats = []ladder.Format{ladder.AVIF, ladder.JPEG, ladder.WebP}
	})
	source := picture(t, "test.jpg")
	s.holds(s.upload(source).manifestOf(t, http.StatusCreated), expected{source: source, format: "jpeg", width: 1680, height: 1050, frames: 1})
}

func TestAFormIsTakenLikeARawBody(t *testing.T) {
	t.Parallel()
	s := start(t)
	source := picture(t, "test.webp")
	contentType, form := formOf(t, part{"picture", "cat.webp", source})
	m := s.post(form, contentType).manifestOf(t, http.StatusCreated)
	s.holds(m, expected{source: source, filename: "cat.webp", format: "webp", width: 550, height: 368, frames: 1})
	if again := s.upload(source).manifestOf(t, http.StatusOK); again.ID != m.ID {
		t.Errorf("raw, the same picture is %s, in a form it was %s", again.ID, m.ID)
	}
}

func TestTheContentTypeIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := start(t)
	source := picture(t, "test_exif_canon.jpg")
	for i, contentType := range []string{"image/png", "text/html", "application/x-www-form-urlencoded", "junk;;;", ""} {
		a := s.upload(append(source, byte(i)), header("Content-Type", contentType))
		if m := a.manifestOf(t, http.StatusCreated); m.Source.Format != "jpeg" {
			t.Errorf("sent as %q, a JPEG is %s", contentType, m.Source.Format)
		}
	}
}

func TestARepeatedUploadIsNoWork(t *testing.T) {
	t.Parallel()
	s := start(t)
	source := small(t, 1)
	first := s.upload(source)
	m := first.manifestOf(t, http.StatusCreated)
	for range 3 {
		again := s.upload(source)
		if got := again.manifestOf(t, http.StatusOK); !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, the first time %+v", got, m)
		}
		if got, want := again.Header.Get("Location"), "/v1/images/"+m.ID; got != want {
			t.Errorf("Location is %q, want %q", got, want)
		}
	}
	eventually(t, "one job counts as done", func() bool { return s.metric(`optimizerd_jobs_total{result="ok"}`) > 0 })
	if n := s.logged("published"); n != 1 {
		t.Errorf("%v sets were made, want 1", n)
	}
	s.holdsFolder(m)
}

func TestIdenticalUploadsAtOnceAreWorkedOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 20} {
		s := start(t, oneCodec)
		_, thaw := s.freeze() // until all are on their way
		source := small(t, 2)
		var sent, done sync.WaitGroup
		answers := make([]answer, n)
		for i := range n {
			sent.Add(1)
			wrote := sync.OnceFunc(sent.Done)
			done.Go(func() {
				defer wrote()
				var err error
				answers[i], err = s.try(http.MethodPost, "/v1/images", bytes.NewReader(source), func(r *http.Request) {
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
			if !bytes.Equal(a.body, answers[0].body) {
				t.Errorf("two manifests:\n%s\n%s", a.body, answers[0].body)
			}
		}
		if statuses[http.StatusCreated] != 1 || statuses[http.StatusOK] != n-1 {
			t.Errorf("%d uploads: statuses %v, want one 201 and the others 200", n, statuses)
		}
		if s.logged("published") != 1 {
			t.Errorf("%d uploads were worked %d times", n, s.logged("published"))
		}
		s.holdsFolder(answers[0].manifestOf(t, http.StatusCreated, http.StatusOK))
	}
}

func TestUploadsOfDifferentPicturesAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config.Config) { c.Codec.Processes = 2 })
	var done sync.WaitGroup
	for i := range 12 {
		source := small(t, uint64(100+i))
		done.Go(func() {
			a, err := s.try(http.MethodPost, "/v1/images", bytes.NewReader(source))
			if err != nil || a.StatusCode != http.StatusCreated {
				t.Errorf("upload %d: %v %s", i, err, a.body)
			}
		})
	}
	done.Wait()
	if n := len(s.names("files")); n != 12+1 { // and .staging
		t.Errorf("%d folders, want 13", n)
	}
}

func TestContentDigestIsVerified(t *testing.T) {
	t.Parallel()
	s := start(t)
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
			source := small(t, uint64(200+i))
			contentType, form := formOf(t, part{"f", "a.jpg", append(source, 0)})
			for kind, a := range map[string]answer{
				"raw":  s.upload(source, header("Content-Digest", tc.digest(source))),
				"form": s.post(form, contentType, header("Content-Digest", tc.digest(form))),
			} {
				if tc.code != "" {
					a.is(t, tc.code)
				} else if a.StatusCode != http.StatusCreated {
					t.Errorf("%s: got %s %s, want 201", kind, a.Status, a.body)
				}
			}
			s.emptied("spool")
		})
	}
	if n := s.logged("published"); n != 6 {
		t.Errorf("%d sets were made, want the 6 of the accepted ones", n)
	}
}

func TestTheFilenameIsKeptToBeShownAndNothingElse(t *testing.T) {
	t.Parallel()
	s := start(t)
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
		source := small(t, uint64(300+i))
		a := s.request(http.MethodPost, "/v1/images?filename="+url.QueryEscape(tc.sent), bytes.NewReader(source))
		if got := a.manifestOf(t, http.StatusCreated).Source.Filename; got != tc.want {
			t.Errorf("filename=%q is kept as %q, want %q", tc.sent, got, tc.want)
		}
		if strings.ContainsAny(tc.sent, "\r\n\x00") {
			continue // such a part cannot be sent
		}
		contentType, form := formOf(t, part{"f", tc.sent, append(source, 0)})
		if got := s.post(form, contentType).manifestOf(t, http.StatusCreated).Source.Filename; got != tc.want && tc.sent != "/" {
			t.Errorf("a part's filename %q is kept as %q, want %q", tc.sent, got, tc.want)
		}
	}
}

func TestAFormMustBeOneFile(t *testing.T) {
	t.Parallel()
	s := start(t)
	good := picture(t, "test_exif_canon.jpg")
	form := func(parts ...part) func() (string, []byte) {
		return func() (string, []byte) { return formOf(t, parts...) }
	}
	cut := func(n int) func() (string, []byte) {
		return func() (string, []byte) {
			contentType, b := formOf(t, part{"f", "a.jpg", good})
			return contentType, b[:len(b)-n]
		}
	}
	for _, tc := range []struct {
		name string
		form func() (contentType string, body []byte)
	}{
		{"no part", form()},
		{"two files", form(part{"a", "a.jpg", good}, part{"b", "b.jpg", good})},
		{"a text field", form(part{"a", "", good})},
		{"a text field after the file", form(part{"a", "a.jpg", good}, part{"b", "", []byte("x")})},
		{"an empty file", form(part{"a", "a.jpg", nil})},
		{"no closing boundary", cut(40)},
		{"cut within the file", cut(2000)},
		{"another boundary than declared", func() (string, []byte) {
			_, b := formOf(t, part{"f", "a.jpg", good})
			return "multipart/form-data; boundary=else", b
		}},
		{"no boundary declared", func() (string, []byte) {
			_, b := formOf(t, part{"f", "a.jpg", good})
			return "multipart/form-data", b
		}},
		{"nothing", func() (string, []byte) { return "multipart/form-data; boundary=b", nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			contentType, body := tc.form()
			s.post(body, contentType).is(t, "invalid_request")
			s.nothingLeft()
		})
	}
	s.serves()
}

func TestAQueryParameterThatNobodyKnowsIsAnError(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range []string{"/v1/images?width=100", "/v1/images?filename=a&Filename=b"} {
		p := s.request(http.MethodPost, path, bytes.NewReader(picture(t, "test_exif_canon.jpg"))).is(t, "invalid_request")
		if !strings.Contains(p.Detail, "query parameter") {
			t.Errorf("detail %q does not say what is wrong", p.Detail)
		}
	}
	s.get("/v1/images?page=2").is(t, "invalid_request")
	s.nothingLeft()
}

func TestURLsAreAbsoluteByRequestHostOrPublicURL(t *testing.T) {
	t.Parallel()
	host := func(r *http.Request) { r.Host = "images.local:8080" }
	forwarded := func(r *http.Request) {
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-Host", "img.example.com")
	}
	badProto := func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "javascript") }
	for _, tc := range []struct {
		name   string
		change func(*config.Config)
		option option
		want   string // of the URLs; "" is the daemon's own address
	}{
		{"the request's host", func(*config.Config) {}, host, "http://images.local:8080"},
		{"nobody is trusted", func(*config.Config) {}, forwarded, ""},
		{"another network is trusted", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"10.0.0.0/8"} }, forwarded, ""},
		{"the proxy is trusted", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"10.0.0.0/8", "127.0.0.1/32"} }, forwarded, "https://img.example.com"},
		{"a trusted proxy gives another scheme", func(c *config.Config) { c.HTTP.TrustedProxies = []string{"127.0.0.1/32"} }, badProto, ""},
		{"public_url wins", func(c *config.Config) {
			c.HTTP.PublicURL, c.HTTP.TrustedProxies = "https://cdn.example.org/img/", []string{"127.0.0.1/32"}
		}, forwarded, "https://cdn.example.org/img"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, tc.change)
			want := tc.want
			if want == "" {
				want = s.url
			}
			m := s.upload(small(t, 4), tc.option).manifestOf(t, http.StatusCreated)
			for _, v := range m.Variants {
				if v.URL != want+"/files/"+v.Key {
					t.Errorf("url is %s, want %s/files/%s", v.URL, want, v.Key)
				}
			}
			if got := s.get("/v1/images/"+m.ID, tc.option).manifestOf(t, http.StatusOK); !reflect.DeepEqual(got, m) {
				t.Errorf("GET gives %+v, the upload gave %+v", got, m)
			}
		})
	}
}

func TestAnotherRecipeGivesAnotherSet(t *testing.T) {
	t.Parallel()
	s := start(t)
	source := small(t, 5)
	first := s.upload(source).manifestOf(t, http.StatusCreated)
	s.stop()
	other := start(t, s.sameDir, func(c *config.Config) { c.Ladder.Quality.JPEG = 50 })
	second := other.upload(source).manifestOf(t, http.StatusCreated)
	if first.ID == second.ID || first.Recipe == second.Recipe {
		t.Errorf("ids %s and %s, recipes %s and %s; want both to differ", first.ID, second.ID, first.Recipe, second.Recipe)
	}
	if a := other.get("/files/" + first.Variants[0].Key); a.StatusCode != http.StatusOK {
		t.Errorf("the old URL gives %s, want 200", a.Status)
	}
}

// part is one part of a form; a file if it has a filename.
type part struct {
	name, filename string
	data           []byte
}

func formOf(t *testing.T, parts ...part) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		disposition := `form-data; name="` + p.name + `"`
		if p.filename != "" {
			disposition += `; filename="` + strings.ReplaceAll(p.filename, `\`, `\\`) + `"`
		}
		pw, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {"text/plain"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pw.Write(p.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

// post sends a body of this type to /v1/images.
func (c *client) post(body []byte, contentType string, options ...option) answer {
	c.t.Helper()
	return c.request(http.MethodPost, "/v1/images", bytes.NewReader(body), append(options, header("Content-Type", contentType))...)
}
