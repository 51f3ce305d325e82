package httpapi

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

func TestQueryIsExact(t *testing.T) {
	for query, want := range map[string]fault.Code{
		"":                    "",
		"limit=&cursor=":      "",
		"cursor=a%20b":        "",
		"limit=1&limit=2":     fault.InvalidRequest,
		"limit=1&x=2":         fault.InvalidRequest,
		"Limit=1":             fault.InvalidRequest,
		"limit=%zz":           fault.InvalidRequest,
		"limit=1;cursor=a":    fault.InvalidRequest,
		"limit=1&cursor=a%2":  fault.InvalidRequest,
		"=":                   fault.InvalidRequest,
		"limit=1&%6cimit=100": fault.InvalidRequest,
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/images?"+query, nil)
		if err := onlyQuery(r, "limit", "cursor"); fault.CodeOf(err) != want {
			t.Errorf("?%s: got %v, want the code %q", query, err, want)
		}
	}
}
