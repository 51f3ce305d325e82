package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/httpapi"
)

func TestAServerThatIsStoppingTakesNoWork(t *testing.T) {
	stopping := make(chan struct{})
	close(stopping)
	server, _ := broken(t, func(d *httpapi.Deps) { d.Stopping = stopping })
	for _, path := range []string{"/v1/images", "/jobs"} {
		res, err := server.Client().Post(server.URL+path, "", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var p struct{ Code string }
		if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusServiceUnavailable || p.Code != "shutting_down" || res.Header.Get("Retry-After") == "" {
			t.Errorf("POST %s: got %s %s, Retry-After %q; want 503 shutting_down and one", path, res.Status, p.Code, res.Header.Get("Retry-After"))
		}
	}
}
