package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/optimizerd/optimizerd/pkg/httpapi"
)

// broken returns an API without parts: a handler that uses one panics.
func broken(t *testing.T, change func(*httpapi.Deps)) (*httptest.Server, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	deps := httpapi.Deps{Log: zap.New(core)}
	change(&deps)
	handler, err := httpapi.New(httpapi.DefaultConfig(), deps)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server, logs
}

// requestPanic sends a request whose handler panics, and checks the problem that it
// gets.
func requestPanic(t *testing.T, server *httptest.Server) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, server.URL+"/v1/images/"+strings.Repeat("a", 26), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Request-Id", "the-request")
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var p map[string]any
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusInternalServerError || res.Header.Get("Content-Type") != "application/problem+json" || p["code"] != "internal" {
		t.Errorf("got %s %v, want the problem 500 internal", res.Status, p)
	}
	if p["request_id"] != "the-request" || res.Header.Get("X-Request-Id") != "the-request" {
		t.Errorf("request_id is %v, X-Request-Id %q, want the request's own", p["request_id"], res.Header.Get("X-Request-Id"))
	}
	for _, internal := range []string{"nil pointer", "goroutine", ".go", "panic", "/"} {
		if strings.Contains(p["detail"].(string), internal) {
			t.Errorf("detail %q shows %q", p["detail"], internal)
		}
	}
}

func TestPanicIsAProblemWithoutInternals(t *testing.T) {
	var observed []httpapi.Observation
	server, logs := broken(t, func(d *httpapi.Deps) {
		d.Observe = func(o httpapi.Observation) { observed = append(observed, o) }
	})
	requestPanic(t, server)
	requestPanic(t, server) // the server continues
	server.Close()          // the log is complete when every request has ended
	lines := logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessage("request").All()
	if len(lines) != 2 || len(observed) != 2 {
		t.Fatalf("%d error lines in the log, %d observations, want 2 of each", len(lines), len(observed))
	}
	if text, _ := lines[0].ContextMap()["error"].(string); !strings.Contains(text, "panic") || !strings.Contains(text, "httpapi") {
		t.Errorf("the log does not say where it panicked: %q", text)
	}
	if observed[0].Status != http.StatusInternalServerError || observed[0].Route != "GET /v1/images/{id}" {
		t.Errorf("observed %+v, want a 500 of GET /v1/images/{id}", observed[0])
	}
}

func TestReadinessCheckThatFailsKeepsItsCauseToItself(t *testing.T) {
	server, _ := broken(t, func(d *httpapi.Deps) {
		d.Checks = httpapi.Checks{
			"disk": func() (string, error) { return "", errSecret },
			"off":  nil,
		}
	})
	res, err := server.Client().Get(server.URL + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Status string
		Parts  map[string]struct{ Status, Detail string }
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusServiceUnavailable || got.Status != "not_ready" || got.Parts["disk"].Status != "not_ready" || got.Parts["off"].Status != "off" {
		t.Errorf("got %s %+v, want 503, with disk not ready", res.Status, got)
	}
	if detail := got.Parts["disk"].Detail; detail == "" || strings.Contains(detail, errSecret.Error()) {
		t.Errorf("detail is %q, want one that gives nothing away", detail)
	}
}

type secretError struct{}

func (secretError) Error() string { return "stat /var/lib/secret" }

var errSecret = secretError{}
