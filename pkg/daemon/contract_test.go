package daemon_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

func TestDocumentDescribesTheRoutesOfTheContract(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	if got := s.Contract.Doc.OpenAPI; !strings.HasPrefix(got, "3.1.") {
		t.Errorf("openapi is %q, want 3.1", got)
	}
	want := map[string]string{
		"POST /v1/images": "200 201 202 400 401 408 409 413 415 422 429 503 507", "GET /v1/images": "200 400 401",
		"GET /v1/images/{id}": "200 401 404", "DELETE /v1/images/{id}": "204 401", "POST /jobs": "202 400 401 422 429 507", "GET /jobs": "200 400 401", "GET /jobs/{id}": "200 401 404", "DELETE /jobs/{id}": "204 401 404 409", "POST /jobs/{id}/retry": "202 401 404 409 429",
		"GET /files/{id}/{name}": "200 206 304 401 404 416", "GET /openapi.json": "200 401", "GET /healthz": "200", "GET /readyz": "200 503",
	}
	for route, statuses := range want {
		method, path, _ := strings.Cut(route, " ")
		item := s.Contract.Doc.Paths.Value(path)
		if item == nil || item.GetOperation(method) == nil {
			t.Errorf("%s is not in the document", route)
			continue
		}
		for status := range strings.FieldsSeq(statuses) {
			if item.GetOperation(method).Responses.Value(status) == nil {
				t.Errorf("%s: status %s is not in the document", route, status)
			}
		}
	}
	codes := s.Contract.Doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum
	listed := make(map[string]bool)
	for _, c := range codes {
		listed[c.(string)] = true
	}
	for code := range daemontest.StatusOf {
		if !listed[code] {
			t.Errorf("code %s is not in the document", code)
		}
	}
}

// The check itself is held against answers that break the document, so that a
// green suite means something.
func TestContractCheckRefusesWhatTheDocumentDoesNotAllow(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	health, err := http.NewRequest(http.MethodGet, s.URL+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	unknown, private := health.Clone(t.Context()), health.Clone(t.Context())
	unknown.URL.Path, private.URL.Path = "/else", "/openapi.json"
	problem := func(status int, code, requestID string) string {
		return fmt.Sprintf(`{"type":"a","title":"b","status":%d,"detail":"c","code":%q,"request_id":%q}`, status, code, requestID)
	}
	const plain, problems = "application/json", "application/problem+json"
	for _, tc := range []struct {
		name        string
		request     *http.Request
		status      int
		contentType string
		body        string
		drop        string // a header that is left out
		ok          bool
	}{
		{"as it is", health, 200, plain, `{"status":"ok"}`, "", true},
		{"another constant", health, 200, plain, `{"status":"fine"}`, "", false},
		{"another type", health, 200, plain, `{"status":1}`, "", false},
		{"a field missing", health, 200, plain, `{}`, "", false},
		{"a field too many", health, 200, plain, `{"status":"ok","x":1}`, "", false},
		{"another media type", health, 200, "text/plain", `{"status":"ok"}`, "", false},
		{"a status that is not documented", health, 201, plain, `{"status":"ok"}`, "", false},
		{"no request id", health, 200, plain, `{"status":"ok"}`, "X-Request-Id", false},
		{"no nosniff", health, 200, plain, `{"status":"ok"}`, "X-Content-Type-Options", false},
		{"all its headers", private, 401, problems, problem(401, "unauthorized", "r"), "", true},
		{"a header missing", private, 401, problems, problem(401, "unauthorized", "r"), "Www-Authenticate", false},
		{"a header that is not documented", private, 200, plain, `{}`, "", false},
		{"an unknown path", unknown, 404, problems, problem(404, "not_found", "r"), "", true},
		{"an unknown path that is found", unknown, 200, plain, `{}`, "", false},
		{"an error that is no problem", unknown, 404, plain, `{}`, "", false},
		{"a code that is not documented", unknown, 404, problems, problem(404, "gone_fishing", "r"), "", false},
		{"another status in the problem", unknown, 404, problems, problem(400, "not_found", "r"), "", false},
		{"another request id in the problem", unknown, 404, problems, problem(404, "not_found", "q"), "", false},
	} {
		header := http.Header{"X-Request-Id": {"r"}, "X-Content-Type-Options": {"nosniff"}, "Content-Type": {tc.contentType}}
		if tc.request == private {
			header.Set("WWW-Authenticate", "Bearer")
		}
		header.Del(tc.drop)
		res := &http.Response{StatusCode: tc.status, Header: header, Body: io.NopCloser(strings.NewReader(tc.body)), ContentLength: int64(len(tc.body))}
		if err := s.Contract.Check(tc.request, res, []byte(tc.body)); (err == nil) != tc.ok {
			t.Errorf("%s: the check says %v, want ok %v", tc.name, err, tc.ok)
		}
	}
	// What OpenAPI 3.1 has over 3.0: null as one type of several.
	next := s.Contract.Doc.Components.Schemas["Listing"].Value
	for text, ok := range map[string]bool{`{"items":[],"next":null}`: true, `{"items":[],"next":"x"}`: true, `{"items":[],"next":1}`: false} {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if err := next.VisitJSON(value, openapi3.EnableJSONSchema2020()); (err == nil) != ok {
			t.Errorf("%s: the check says %v, want ok %v", text, err, ok)
		}
	}
}

func TestHEADIsGETWithoutABody(t *testing.T) {
	t.Parallel()
	s, m, path, _ := published(t)
	job := submitWithToken(s, t)
	s.AwaitJob(strings.TrimPrefix(job, "/jobs/"))
	for _, path := range []string{
		"/v1/images", "/v1/images/" + m.ID, path, "/files/" + m.ID + "/manifest.json", job, "/openapi.json", "/healthz", "/readyz",
		"/v1/images/" + strings.Repeat("a", 26), "/jobs/x", "/files/x/y", "/nothing", "/v1/images?limit=0",
	} {
		get, head := s.Get(path), s.Request(http.MethodHead, path, nil)
		if head.StatusCode != get.StatusCode || len(head.Body) > 0 {
			t.Errorf("HEAD %s: got %s and %d bytes, want %s and none", path, head.Status, len(head.Body), get.Status)
		}
		for _, name := range []string{"Content-Type", "Content-Length", "Cache-Control", "ETag", "Repr-Digest", "Accept-Ranges", "Last-Modified", "X-Content-Type-Options"} {
			if got, want := head.Header.Get(name), get.Header.Get(name); got != want {
				t.Errorf("HEAD %s: %s is %q, GET has %q", path, name, got, want)
			}
		}
	}
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	for _, path := range []string{"/", "/favicon.ico", "/v1", "/v1/", "/v1/images/", "/v1/images/a/b", "/v2/images", "/jobs/", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/index.html"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			s.Request(method, path, nil).CheckProblem(t, "not_found")
		}
	}
	for _, path := range []string{"//v1/images", "/v1//images", "/v1/./images", "/v1/x/../images", "/healthz/..//readyz"} {
		s.Request(http.MethodGet, "/", nil, rawPath(path)).CheckProblem(t, "not_found")
	}
	id := strings.Repeat("a", 26)
	for _, tc := range []struct{ method, path, allow string }{
		{http.MethodPut, "/v1/images", "GET, HEAD, POST"},
		{http.MethodDelete, "/v1/images", "GET, HEAD, POST"},
		{http.MethodOptions, "/v1/images", "GET, HEAD, POST"},
		{"BREW", "/v1/images", "GET, HEAD, POST"},
		{http.MethodPost, "/v1/images/" + id, "DELETE, GET, HEAD"},
		{http.MethodPatch, "/v1/images/" + id, "DELETE, GET, HEAD"},
		{http.MethodDelete, "/files/" + id + "/320.webp", "GET, HEAD"},
		{http.MethodPut, "/files/" + id + "/320.webp", "GET, HEAD"},
		{http.MethodPost, "/jobs/x", "DELETE, GET, HEAD"},
		{http.MethodGet, "/jobs/x/retry", "POST"},
		{http.MethodDelete, "/jobs", "GET, HEAD, POST"},
		{http.MethodPost, "/healthz", "GET, HEAD"},
		{http.MethodPost, "/readyz", "GET, HEAD"},
		{http.MethodPost, "/openapi.json", "GET, HEAD"},
	} {
		a := s.Request(tc.method, tc.path, strings.NewReader("a body"))
		a.CheckProblem(t, "method_not_allowed")
		if got := a.Header.Get("Allow"); got != tc.allow {
			t.Errorf("%s %s: Allow is %q, want %q", tc.method, tc.path, got, tc.allow)
		}
	}
}

func TestRootURLSaysWhereToGo(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Auth.Tokens = []config.Secret{"secret-token"} })
	for _, tc := range []struct {
		code    string
		options []daemontest.Option
		names   []string
	}{
		{"unauthorized", nil, []string{"Bearer", "/healthz"}},
		{"not_found", []daemontest.Option{daemontest.Bearer(s.Config)}, []string{"/openapi.json", "/healthz"}},
	} {
		detail := s.Get("/", tc.options...).CheckProblem(t, tc.code).Detail
		for _, name := range tc.names {
			if !strings.Contains(detail, name) {
				t.Errorf("GET /: %s with the detail %q, want it to name %s", tc.code, detail, name)
			}
		}
	}
}

// net/http answers these itself, before any handler.
func TestRequestsThatAreNotHTTPAreProblemsToo(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	const host = "Host: localhost\r\n"
	for name, tc := range map[string]struct {
		request string
		status  int
	}{
		"no request":          {"hello\r\n\r\n", 400},
		"a malformed header":  {"GET /healthz HTTP/1.1\r\n" + host + "no colon\r\n\r\n", 400},
		"no host":             {"GET /healthz HTTP/1.1\r\n\r\n", 400},
		"two hosts":           {"GET /healthz HTTP/1.1\r\n" + host + host + "\r\n", 400},
		"a malformed path":    {"GET /v1/images/%zz HTTP/1.1\r\n" + host + "\r\n", 400},
		"two lengths":         {"POST /v1/images HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		"all of the server":   {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 404},
		"another expectation": {"POST /v1/images HTTP/1.1\r\n" + host + "Expect: tea\r\nContent-Length: 1\r\n\r\n", 417},
		"a very long path":    {"GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\n" + host + "\r\n", 431},
		"a very long header":  {"GET /healthz HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		"an unknown encoding": {"POST /v1/images HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n", 501},
		"a version to come":   {"GET /healthz HTTP/7.0\r\n" + host + "\r\n", 505},
	} {
		w := s.Dial(t)
		w.Send([]byte(tc.request))
		res, err := http.ReadResponse(w.R, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var p struct {
			Status       int
			Code, Detail string
			RequestID    string `json:"request_id"`
		}
		if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		res.Body.Close()
		code := map[bool]string{true: "not_found", false: "invalid_request"}[tc.status == http.StatusNotFound]
		if res.StatusCode != tc.status || p.Status != tc.status || p.Code != code || p.Detail == "" || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %s %+v, want the problem %d %s", name, res.Status, p, tc.status, code)
		}
		if id := res.Header.Get("X-Request-Id"); id == "" || id != p.RequestID {
			t.Errorf("%s: X-Request-Id is %q, request_id %q", name, id, p.RequestID)
		} else if n := s.Logs.FilterMessage("request").Filter(withField("request_id", id)).Len(); n != 1 {
			t.Errorf("%s: %d lines of the log have its id, want 1", name, n)
		}
	}
	s.CheckServes()
}

func TestRequestKeepsItsIDIfThatIsSane(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	for _, sane := range []string{"abc-123", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a.b_c~d+e/f=", strings.Repeat("x", 128)} {
		if got := s.Get("/nothing", daemontest.Header("X-Request-Id", sane)).Header.Get("X-Request-Id"); got != sane {
			t.Errorf("X-Request-Id %q comes back as %q", sane, got)
		}
		if n := s.Logs.FilterMessage("request").FilterFieldKey("request_id").Filter(withField("request_id", sane)).Len(); n != 1 {
			t.Errorf("%d lines of the log have the id %q, want 1", n, sane)
		}
	}
	made := make(map[string]bool)
	for _, insane := range []string{"", "with space", "<script>", `a"b`, strings.Repeat("x", 129), "ünï", "a\tb"} {
		got := s.Get("/healthz", daemontest.Header("X-Request-Id", insane)).Header.Get("X-Request-Id")
		if got == insane || len(got) < 16 {
			t.Errorf("X-Request-Id %q is answered with %q, want one that was made", insane, got)
		}
		made[got] = true
	}
	if len(made) != 7 {
		t.Errorf("seven requests have %d ids", len(made))
	}
}

func TestAnswersAboutStateAreNotCached(t *testing.T) {
	t.Parallel()
	s, m, _, _ := published(t, daemontest.OneCodec)
	for _, path := range []string{"/v1/images", "/v1/images/" + m.ID, "/healthz", "/readyz", "/nothing"} {
		if got := s.Get(path).Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("GET %s: Cache-Control is %q, want no-store", path, got)
		}
	}
	_, thaw := s.Freeze()
	defer thaw()
	s.Submit(daemontest.SmallJPEG(t, 8))
	s.AwaitJobs(1, 0)
	waiting := "/jobs/" + s.Submit(daemontest.SmallJPEG(t, 9)).ID
	for _, path := range []string{waiting, "/v1/images/" + m.ID} {
		a := s.Request(http.MethodDelete, path, nil)
		if got := a.Header.Get("Cache-Control"); a.StatusCode != http.StatusNoContent || got != "no-store" {
			t.Errorf("DELETE %s: got %s with Cache-Control %q, want 204 with no-store", path, a.Status, got)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	if a := s.Get("/healthz"); strings.TrimSpace(string(a.Body)) != `{"status":"ok"}` {
		t.Errorf("healthz is %s %s", a.Status, a.Body)
	}
	r := readinessOf(t, s.Get("/readyz"), http.StatusOK)
	for name, want := range map[string]string{"queue": "ready", "disk": "ready", "codec": "ready", "tunnel": "off"} {
		if got := r.Parts[name].Status; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestMetricsAndProfilesAreTheOperatorsAlone(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	s.Upload(daemontest.SmallJPEG(t, 40)).Manifest(t, http.StatusCreated)
	s.Upload([]byte("text")).CheckProblem(t, "unsupported_format")
	for series, want := range map[string]float64{
		`optimizerd_http_requests_total{route="POST /v1/images",status="201"}`: 1,
		`optimizerd_http_requests_total{route="POST /v1/images",status="415"}`: 1,
		`optimizerd_jobs_total{result="ok"}`:                                   1,
		`optimizerd_images`:                                                    1,
		`optimizerd_jobs_pending`:                                              0,
		`optimizerd_codec_crashes_total`:                                       0,
		`optimizerd_job_work_seconds_count`:                                    1,
	} {
		daemontest.Eventually(t, fmt.Sprint(series, " is ", want), func() bool { return s.Metric(series) == want })
	}
	if s.Metric("go_goroutines") == 0 {
		t.Error("no metrics of the Go runtime")
	}
	for path, want := range map[string]int{
		"/metrics": http.StatusOK, "/debug/pprof/": http.StatusOK, "/debug/pprof/symbol": http.StatusOK,
		"/debug/pprof/cmdline": http.StatusNotFound, // a command line may have secrets
	} {
		s.Get(path).CheckProblem(t, "not_found")
		res, err := http.Get(s.AdminURL + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("admin: GET %s: got %s, want %d", path, res.Status, want)
		}
	}
	for _, tc := range []struct {
		method, path, code string
		status             int
	}{{http.MethodGet, "/nothing", "not_found", 404}, {http.MethodPut, "/metrics", "method_not_allowed", 405}} {
		r, err := http.NewRequest(tc.method, s.AdminURL+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var p struct{ Code string }
		if err := json.NewDecoder(res.Body).Decode(&p); err != nil || p.Code != tc.code || res.StatusCode != tc.status || (res.Header.Get("Allow") != "") != (tc.status == 405) {
			t.Errorf("admin: %s %s: got %s %+v, %v; want %d %s", tc.method, tc.path, res.Status, p, err, tc.status, tc.code)
		}
		res.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}
