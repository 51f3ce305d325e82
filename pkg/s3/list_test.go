package s3_test

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/s3"
)

// listed answers a list request as AWS does: only with encoding-type does it encode
// what XML 1.0 cannot contain.
func listed(keys ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var s strings.Builder
		s.WriteString("<ListBucketResult>")
		encoded := r.URL.Query().Get("encoding-type") == "url"
		if encoded {
			s.WriteString("<EncodingType>url</EncodingType>")
		}
		for _, key := range keys {
			s.WriteString("<Contents><Key>")
			if encoded {
				s.WriteString(url.QueryEscape(key))
			} else {
				s.WriteString(strings.ReplaceAll(key, "\x01", "&#x1;"))
			}
			s.WriteString("</Key><Size>3</Size></Contents>")
		}
		s.WriteString("<IsTruncated>false</IsTruncated></ListBucketResult>")
		_, _ = w.Write([]byte(xml.Header + s.String()))
	}
}

// The bucket may have objects of others.
func TestListHasKeysWithAnyCharacters(t *testing.T) {
	want := []string{"a b+c%20", "b\x01\n", "ü/🙂"}
	b := fake(t, listed(want...))
	var got []string
	for o, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What a listing lacks counts as deleted.
func TestListThatIsNotCompleteIsAnError(t *testing.T) {
	for what, page := range map[string]string{
		"no token":           `<IsTruncated>true</IsTruncated>`,
		"the same token":     `<IsTruncated>true</IsTruncated><NextContinuationToken>1</NextContinuationToken>`,
		"a key not decoded":  `<EncodingType>url</EncodingType><Contents><Key>%zz</Key></Contents>`,
		"not XML":            `<html><br></html>`,
		"another document":   `<Error><Code>Nothing</Code></Error>`,
		"a page that is cut": `<Contents><Key>a</Key>`,
	} {
		b := fake(t, func(w http.ResponseWriter, _ *http.Request) {
			document := "<ListBucketResult>" + page
			if strings.HasPrefix(page, "<html") || strings.HasPrefix(page, "<Error") {
				document = page
			} else if !strings.Contains(what, "cut") {
				document += "</ListBucketResult>"
			}
			_, _ = w.Write([]byte(document))
		})
		var failure error
		n := 0
		for _, err := range b.List(t.Context(), "") {
			if failure = err; err != nil {
				break
			}
			if n++; n > 10 {
				break
			}
		}
		if failure == nil || s3.Is(failure, s3.NotFound) {
			t.Errorf("%s: got %v", what, failure)
		}
	}
}
