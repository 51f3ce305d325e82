package httpapi

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// preference is the parsed Prefer header (RFC 7240).
type preference struct {
	wait    time.Duration
	applied string // for Preference-Applied; "" if nothing was requested
}

// parsePreference parses Prefer. wait=N is capped at longest. The default wait
// is otherwise, and 0 for respond-async. What cannot be parsed is ignored, as
// required by the RFC.
func parsePreference(r *http.Request, otherwise, longest time.Duration) preference {
	given := preferences(r)
	if value, ok := given["wait"]; ok && value != "" && strings.Trim(value, "0123456789") == "" {
		wait := longest
		if seconds, err := strconv.ParseInt(value, 10, 32); err == nil { // otherwise it is longer than any
			wait = min(time.Duration(seconds)*time.Second, longest)
		}
		return preference{wait, fmt.Sprintf("wait=%d", wait/time.Second)}
	}
	if value, ok := given["respond-async"]; ok && value == "" {
		return preference{0, "respond-async"}
	}
	return preference{wait: otherwise}
}

// preferences returns the preferences of a request and their values, without
// parameters. Names are in lower case. The first one of a name counts.
func preferences(r *http.Request) map[string]string {
	given := make(map[string]string)
	for _, element := range splitUnquoted(strings.Join(r.Header.Values("Prefer"), ","), ',') {
		name, value, _ := strings.Cut(splitUnquoted(element, ';')[0], "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if _, repeated := given[name]; !repeated {
			given[name] = strings.Trim(value, "\" \t")
		}
	}
	return given
}

// splitUnquoted splits a header field at a separator, except within quoted strings.
func splitUnquoted(field string, separator byte) (parts []string) {
	quoted, begin := false, 0
	for i := 0; i < len(field); i++ {
		switch c := field[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++ // the next character is escaped
		case c == separator && !quoted:
			parts = append(parts, field[begin:i])
			begin = i + 1
		}
	}
	return append(parts, field[begin:])
}

// acknowledge sets Preference-Applied, if a preference was requested.
func (p preference) acknowledge(w *response) {
	if p.applied != "" {
		w.Header().Set("Preference-Applied", p.applied)
	}
}

func member(d *httpsfv.Dictionary, name string) (httpsfv.Item, bool) {
	m, ok := d.Get(name)
	if !ok {
		return httpsfv.Item{}, false
	}
	item, ok := m.(httpsfv.Item)
	return item, ok
}

// checkEncoding refuses a body that is compressed or has any other content coding,
// because the bytes are stored and digested as sent.
func checkEncoding(r *http.Request) error {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Content-Encoding"), ","), ",") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return fault.New(fault.UnsupportedEncoding, "The body has Content-Encoding %.40q; send it unencoded.", coding)
		}
	}
	return nil
}

// contentDigest returns the SHA-256 from Content-Digest (RFC 9530), or nil.
// Other algorithms are ignored, as required by the RFC.
func contentDigest(r *http.Request) ([]byte, error) {
	values := r.Header.Values("Content-Digest")
	if len(values) == 0 {
		return nil, nil
	}
	dictionary, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return nil, fault.Wrap(fault.InvalidRequest, err, "Content-Digest must have the form sha-256=:BASE64:.")
	}
	item, ok := member(dictionary, "sha-256")
	if !ok {
		return nil, nil
	}
	digest, ok := item.Value.([]byte)
	if !ok || len(digest) != sha256.Size {
		return nil, fault.New(fault.InvalidRequest, "Content-Digest: sha-256 must be %d bytes in base64, between colons.", sha256.Size)
	}
	return digest, nil
}
