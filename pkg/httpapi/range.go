package httpapi

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// maxRanges is the largest number of ranges in one request; with more, the
// response is the complete file.
const maxRanges = 16

// beyondInt64 matches a number that http.ServeContent cannot parse. Its
// replacement is larger than any file.
var beyondInt64 = regexp.MustCompile(`0*[1-9][0-9]{18,}`)

const beyondAnyFile = "999999999999999999"

// normalizeRange rewrites the Range header of a request for a file of size
// bytes where http.ServeContent differs from RFC 9110: Range is for GET alone,
// units have no case, an unknown one is ignored, positions have no limit, no sign and
// no spaces, and a suffix of no bytes cannot be satisfied.
func normalizeRange(r *http.Request, size int64) {
	header := r.Header.Get("Range")
	if header == "" {
		return
	}
	unit, set, _ := strings.Cut(header, "=")
	specs := strings.Split(set, ",")
	if r.Method != http.MethodGet || !strings.EqualFold(strings.TrimSpace(unit), "bytes") || len(specs) > maxRanges {
		r.Header.Del("Range")
		return
	}
	for i, spec := range specs {
		spec = beyondInt64.ReplaceAllLiteralString(strings.TrimSpace(spec), beyondAnyFile)
		if strings.Trim(spec, "0123456789-") != "" {
			spec = "-" // which is no range
		}
		if suffix, ok := strings.CutPrefix(spec, "-"); ok && suffix != "" && strings.Trim(suffix, "0") == "" {
			spec = fmt.Sprintf("%d-", size)
		}
		specs[i] = spec
	}
	r.Header.Set("Range", "bytes="+strings.Join(specs, ","))
}

// joinTags joins several If-Match or If-None-Match headers, which are one list;
// http.ServeContent reads the first alone.
func joinTags(r *http.Request) {
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if tags := r.Header.Values(name); len(tags) > 1 {
			r.Header.Set(name, strings.Join(tags, ", "))
		}
	}
}
