package job_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/optimizerd/optimizerd/pkg/job"
)

func FuzzFilename(f *testing.F) {
	for _, name := range []string{"cat.jpg", `C:\cat.jpg`, "../..", "a/\x00b\n", "\u202egpj.exe", strings.Repeat("ä", 200), "\xff\xfe", ".", "..\x01"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := job.CleanFilename(name)
		if !utf8.ValidString(got) || len(got) > 255 || strings.ContainsAny(got, "/\\\x00\r\n") || got == "." || got == ".." {
			t.Errorf("%q is shown as %q", name, got)
		}
		if again := job.CleanFilename(got); again != got {
			t.Errorf("%q is cleaned to %q, that to %q", name, got, again)
		}
		if _, err := url.ParseQuery(url.Values{"filename": {got}}.Encode()); err != nil {
			t.Error(err)
		}
	})
}
