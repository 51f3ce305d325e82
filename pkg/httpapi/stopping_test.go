package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/jobs"
)

func TestServerThatIsStoppingTakesNoWork(t *testing.T) {
	stopping := make(chan struct{})
	close(stopping)
	handler := newAPI(t, t.TempDir(), func(c *jobs.Config) { c.Stopping = stopping })
	for path, body := range map[string]string{"/v1/images": tiny, "/jobs": `{"input": "https://www.example.com/cat.jpg"}`} {
		r := httptest.NewRequest(http.MethodPost, "http://localhost"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		var p struct{ Code string }
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusServiceUnavailable || p.Code != "shutting_down" || w.Header().Get("Retry-After") == "" {
			t.Errorf("POST %s: got %d %s, Retry-After %q; want 503 shutting_down and one", path, w.Code, p.Code, w.Header().Get("Retry-After"))
		}
	}
}
