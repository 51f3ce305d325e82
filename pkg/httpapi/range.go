package httpapi

import (
	"fmt"
	"net/http"
	"strings"
)

// maxRanges is the largest number of ranges in one request; the response to more
// is the complete file.
const maxRanges = 16

// normalizeRange rewrites the Range header of a request for a file of size
// bytes where http.ServeContent differs from RFC 9110: Range is for GET alone,
// units have no case, an unknown one is ignored, and a suffix of no bytes cannot
// be satisfied.
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
		spec = strings.TrimSpace(spec)
		if suffix, ok := strings.CutPrefix(spec, "-"); ok && suffix != "" && strings.Trim(suffix, "0") == "" {
			spec = fmt.Sprintf("%d-", size)
		}
		specs[i] = spec
	}
	r.Header.Set("Range", "bytes="+strings.Join(specs, ","))
}
