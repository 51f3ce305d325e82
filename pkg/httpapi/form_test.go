package httpapi

import (
	"crypto/sha256"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

func TestFormThatWasCutIsRefused(t *testing.T) {
	whole := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"cat.gif\"\r\n\r\n" + tiny + "\r\n--b--"
	for cut := range 3 {
		err := receiveForm(multipart.NewReader(strings.NewReader(whole[:len(whole)-cut]), "b"), func(image io.Reader, _ string) (sum [sha256.Size]byte, err error) {
			_, err = io.Copy(io.Discard, image)
			return sum, err
		})
		if want := map[bool]fault.Code{true: fault.InvalidRequest}[cut > 0]; fault.CodeOf(err) != want {
			t.Errorf("without its last %d bytes: %v", cut, err)
		}
	}
}

func TestFormHasOneFileAmongTextFields(t *testing.T) {
	part := func(disposition, content string) string {
		return "--b\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n"
	}
	text := part(`name="title"`, "A cat")
	cat := part(`name="f"; filename="cat.gif"`, tiny)
	for name, tc := range map[string]struct {
		form string
		file string
		code fault.Code
	}{
		"the file alone":         {cat, "cat.gif", ""},
		"text before":            {text + cat, "cat.gif", ""},
		"text after":             {cat + text + text, "cat.gif", ""},
		"an empty file input":    {part(`name="g"; filename=""`, "") + cat, "cat.gif", ""},
		"64 KiB of text":         {part(`name="t"`, strings.Repeat("x", 64<<10)) + cat, "cat.gif", ""},
		"more text":              {part(`name="t"`, strings.Repeat("x", 64<<10)) + cat + text, "", fault.TooLarge},
		"two files":              {cat + cat, "", fault.InvalidRequest},
		"no file":                {text, "", fault.InvalidRequest},
		"nothing":                {"", "", fault.InvalidRequest},
		"a quoted name":          {part(`name="f"; filename="a %22big%22 cat%0D%0A.gif"`, tiny), `a "big" cat.gif`, ""},
		"a percent sign in it":   {part(`name="f"; filename="100%25.gif"`, tiny), "100%25.gif", ""},
		"a name that is a path":  {part(`name="f"; filename="../../etc/cat.gif"`, tiny), "cat.gif", ""},
		"a file that is refused": {text + part(`name="f"; filename="cat.gif"`, "not an image"), "", fault.UnsupportedFormat},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			uploads, err := spool.Open(spool.Config{Dir: dir, MaxBytes: 1 << 20, MinFree: 1})
			if err != nil {
				t.Fatal(err)
			}
			var upload *spool.Upload
			err = receiveForm(multipart.NewReader(strings.NewReader(tc.form+"--b--\r\n"), "b"), func(image io.Reader, filename string) (sum [sha256.Size]byte, err error) {
				if upload, err = uploads.Receive(image, job.CleanFilename(filename)); err != nil {
					return sum, err
				}
				t.Cleanup(upload.Discard)
				return upload.SHA256, nil
			})
			if fault.CodeOf(err) != tc.code {
				t.Fatalf("got %v, want the code %q", err, tc.code)
			}
			if tc.code == "" && (upload.Filename != tc.file || upload.Bytes != int64(len(tiny))) {
				t.Errorf("got %q of %d bytes, want %q of %d", upload.Filename, upload.Bytes, tc.file, len(tiny))
			}
		})
	}
}

// The parts' own limits do not bound what is around them.
func TestFormIsBoundedAsAWhole(t *testing.T) {
	file := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"cat.gif\"\r\n\r\n" + tiny + "\r\n"
	handler, padding := newAPI(t, t.TempDir()), strings.Repeat("x", 1<<20)
	for name, form := range map[string]string{
		"after its last part": file + "--b--\r\n" + padding,
		"in empty parts":      strings.Repeat("--b\r\n\r\n\r\n", 100_000) + file + "--b--\r\n",
	} {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/v1/images", struct{ io.Reader }{strings.NewReader(form)}) // its length is not known
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), `"too_large"`) {
			t.Errorf("bytes %s: got %d %s", name, w.Code, w.Body)
		}
	}
}

func TestBodiesWithAContentEncodingAreRefused(t *testing.T) {
	handler, err := New(DefaultConfig(), Deps{Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, header, value string
		status              int
		code                string
	}{
		{"/v1/images", "Content-Encoding", "gzip", 415, `"unsupported_encoding"`},
		{"/v1/images", "Content-Encoding", "identity, br", 415, `"unsupported_encoding"`},
		{"/jobs", "Content-Encoding", "gzip", 415, `"unsupported_encoding"`},
		{"/jobs", "Content-Type", "text/plain", 415, `"unsupported_format"`},
		{"/jobs", "Content-Type", "", 415, `"unsupported_format"`},
		{"/jobs", "Content-Type", "application/json; charset=utf-8", 400, `"invalid_request"`}, // goes on to read the job
	} {
		r := httptest.NewRequest(http.MethodPost, "http://localhost"+tc.path, strings.NewReader(`{}`))
		r.Header.Set(tc.header, tc.value)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		body, err := io.ReadAll(w.Body)
		if err != nil || w.Code != tc.status || !strings.Contains(string(body), tc.code) {
			t.Errorf("POST %s with %s %q: got %d %s, want %d %s", tc.path, tc.header, tc.value, w.Code, body, tc.status, tc.code)
		}
	}
}
