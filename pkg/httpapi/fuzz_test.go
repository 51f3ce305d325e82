package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/publish"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/queue"
	"github.com/optimizerd/optimizerd/pkg/render"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// tiny passes for an image: only its signature is checked here.
const tiny = "GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// damaged is an engine that reports every image as damaged.
type damaged struct{}

func (damaged) Render(context.Context, *os.File, ladder.Recipe, ladder.Limits, ladder.Sink) (ladder.Summary, error) {
	return ladder.Summary{}, fault.New(fault.CorruptImage, "The picture is damaged.")
}

// newAPI returns the API with all its parts in dir, except the codec.
func newAPI(t testing.TB, dir string, changes ...func(*jobs.Config)) http.Handler {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := zap.NewNop()
	q, err := queue.Open(queue.Config{Dir: filepath.Join(dir, "queue"), MaxPending: 8, Keep: time.Hour}, log)
	must(err)
	const maxBytes = 8 << 10
	uploads, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: maxBytes, MinFree: 1})
	must(err)
	store, err := publish.Open(publish.Config{Dir: filepath.Join(dir, "files")}, log)
	must(err)
	bad, err := quarantine.Open(filepath.Join(dir, "quarantine"), "1.2.3")
	must(err)
	config := jobs.Config{
		Queue: q, Sets: store, Renderer: &render.Renderer{Engine: damaged{}, LastResort: damaged{}, Sets: store, Log: log},
		Spool: uploads, Quarantine: bad, Ladder: ladder.DefaultConfig(), Log: log,
	}
	for _, change := range changes {
		change(&config)
	}
	service, err := jobs.New(config)
	must(err)
	ended := make(chan error, 1)
	go func() { ended <- service.Run(context.Background(), 1, 1, 0) }()
	t.Cleanup(func() {
		q.Close()
		must(<-ended)
		must(q.Unlock())
		must(store.Close())
	})
	handler, err := New(DefaultConfig(), Deps{Jobs: service, Sets: store, MaxBytes: maxBytes, Stopping: config.Stopping, Log: log})
	must(err)
	return handler
}

// refusals are the codes that a fuzzed upload may be refused with: its image is
// damaged or worse.
var refusals = []fault.Code{fault.InvalidRequest, fault.DigestMismatch, fault.TooLarge, fault.UnsupportedFormat, fault.CorruptImage}

func FuzzMultipart(f *testing.F) {
	const form = "multipart/form-data; boundary=b"
	part := func(disposition, content string) string {
		return "--b\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n"
	}
	file := part(`name="f"; filename="a.gif"`, tiny)
	for _, seed := range [][2]string{
		{form, file + "--b--\r\n"},
		{form, "preamble\r\n" + file + "--b--\r\nepilogue"},
		{form, file + file + "--b--\r\n"},
		{form, file + part(`name="x"`, "y") + "--b--\r\n"},
		{form, part(`name="x"`, "y") + file + "--b--\r\n"},
		{form, part(`name="f"; filename="../../etc/passwd"`, tiny) + "--b--\r\n"},
		{form, part(`name="f"; filename*=UTF-8''%e2%80%aea.gif`, tiny) + "--b--\r\n"},
		{form, part(`name="f"; filename="a.gif"`, "") + "--b--\r\n"},
		{form, part(`name="f"; filename="a.gif"`, tiny+strings.Repeat("x", 9<<10)) + "--b--\r\n"},
		{form, part(`name="f"; filename="a.gif"`, "<svg/>") + "--b--\r\n"},
		{form, file},
		{form, file[:len(file)/2]},
		{form, "--b\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; filename=a\r\n\r\nGIF89a=\r\n--b--"},
		{form, "--b\r\n" + strings.Repeat("A: b\r\n", 2000) + "\r\n"},
		{form, strings.Repeat("--b\r\n", 500)},
		{form, "--b--"},
		{form, ""},
		{"multipart/form-data", file + "--b--\r\n"},
		{`multipart/form-data; boundary=""`, file},
		{"multipart/form-data; boundary=" + strings.Repeat("b", 200), file},
		{"multipart/mixed; boundary=b", file + "--b--\r\n"},
		{"multipart/form-data; boundary*0=b; boundary*1=c", "--bc\r\n"},
		{"image/gif", tiny},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	dir := f.TempDir()
	handler := newAPI(f, dir)
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/v1/images", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		var p problem
		d := json.NewDecoder(w.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&p); err != nil || p.Status != w.Code || statusByCode[p.Code].status != w.Code || !slices.Contains(refusals, p.Code) {
			t.Errorf("the answer is %d %+v (%v)", w.Code, p, err)
		}
		if !utf8.ValidString(p.Detail) || strings.Contains(p.Detail, dir) {
			t.Errorf("its detail is %q", p.Detail)
		}
		for _, folder := range []string{"spool", "queue/pending", "queue/running", "files/.staging"} {
			if left, err := os.ReadDir(filepath.Join(dir, folder)); err != nil || len(left) > 0 {
				t.Errorf("left in %s: %v (%v)", folder, left, err)
			}
		}
	})
}

func FuzzRequestHeaders(f *testing.F) {
	for _, seed := range [][2]string{
		{"respond-async", "sha-256=:" + strings.Repeat("A", 43) + "=:"},
		{"wait=10", "sha-512=:AAAA:"},
		{"respond-async, wait=5", "sha-256=:AAAA:"},
		{"wait=-1", `sha-256="x"`},
		{"wait=999999999999999", "sha-256=(:AAAA:)"},
		{"wait=1.5, respond-async;x", "sha-256"},
		{`return="minimal"; foo="some parameter"`, "sha-256=:AAAA"},
		{"respond-async=?0", ",,"},
		{"wait=@1; wait=2", "sha-256=:=:"},
	} {
		f.Add(seed[0], seed[1])
	}
	const otherwise, longest = 20 * time.Second, 30 * time.Second
	f.Fuzz(func(t *testing.T, prefer, digest string) {
		r := &http.Request{Header: http.Header{"Prefer": {prefer}, "Content-Digest": {digest}}, Body: io.NopCloser(strings.NewReader(""))}
		p := parsePreference(r, otherwise, longest)
		switch {
		case p.wait < 0 || p.wait > longest:
			t.Errorf("Prefer: %q waits %v", prefer, p.wait)
		case p.applied == "" && p.wait != otherwise:
			t.Errorf("Prefer: %q is said to be ignored, and waits %v", prefer, p.wait)
		case strings.ContainsAny(p.applied, "\r\n"):
			t.Errorf("Preference-Applied: %q", p.applied)
		}
		sum, err := contentDigest(r)
		if err != nil && fault.CodeOf(err) != fault.InvalidRequest || err == nil && sum != nil && len(sum) != sha256.Size {
			t.Errorf("Content-Digest: %q gives %x, %v", digest, sum, err)
		}
	})
}

func FuzzJobRequest(f *testing.F) {
	for _, seed := range []string{
		`{"input": "https://example.com/cat.jpg", "kind": "image", "options": {"width": 800, "format": "webp", "quality": "high"}}`,
		`{"input": "image:aaaaaaaaaaaaaaaaaaaaaaaaaa", "options": null, "metadata": {"a": [1, 2.50, "<\u2028>"]}, "webhook_url": "https://example.com/"}`,
		`{"input": "http://[::1%25eth0]:80/", "options": {"quality": 1}}`,
		`{"Input": "https://example.com/"}`,
		`{"input": "https://a@example.com/", "input": "https://example.com/"}`,
		`{"input": "https://example.com/", "metadata": []}`,
		"{\"input\": \"https://example.com/\xff\"}",
		`{"options": {"width": 1e9}}`,
		`[`,
	} {
		f.Add([]byte(seed))
	}
	a := &api{Config: DefaultConfig(), Deps: Deps{Receivers: func(string) error { return nil }}}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/jobs", bytes.NewReader(body))
		request, err := a.readJobRequest(&response{ResponseWriter: httptest.NewRecorder()}, r)
		if err != nil {
			got := fault.From(err)
			if got.Code != fault.InvalidRequest && got.Code != fault.TooLarge || !utf8.ValidString(got.Detail) || strings.Contains(got.Detail, "json:") {
				t.Errorf("%q is refused by %v", body, got)
			}
			return
		}
		// An accepted job has a record that can be stored and read.
		j := job.New(job.Job{
			Input: request.Input, Options: request.Options, Metadata: request.Metadata, Recipe: ladder.DefaultConfig().Recipe(),
		}, time.Now())
		b, err := j.Encode()
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		back, err := job.Decode(b)
		if err != nil || back.Key() != j.Key() || (back.Metadata == nil) != (j.Metadata == nil) {
			t.Errorf("%q comes back as %+v, %v", body, back, err)
		}
	})
}
