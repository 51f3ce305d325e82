package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/httpapi"
)

// A page in a browser on this machine can send a request to loopback, under a
// host name of its own (DNS rebinding) or across sites.
func TestHostsWithoutTokensOnlyOwnNamesAndOwnPages(t *testing.T) {
	config := httpapi.DefaultConfig()
	config.PublicURL = "https://img.example.com:8443/base"
	config.AllowedHosts = []string{"photos.lan", "[fd00::7]"}
	const token = "0123456789abcdef"
	for name, tc := range map[string]struct {
		host    string
		headers map[string]string
		tokens  []string
		status  int
		code    string
	}{
		"loopback":                        {host: "127.0.0.1:8080", status: 404},
		"another loopback address":        {host: "127.8.8.8", status: 404},
		"IPv6 loopback":                   {host: "[::1]:8080", status: 404},
		"IPv6 loopback without a port":    {host: "[::1]", status: 404},
		"localhost in capitals":           {host: "LOCALHOST:9000", status: 404},
		"public_url's host":               {host: "img.example.com", status: 404},
		"an allowed host":                 {host: "Photos.lan:80", status: 404},
		"an allowed IPv6 address":         {host: "[fd00::7]:8080", status: 404},
		"a foreign name":                  {host: "rebind.evil.example:8080", status: 421, code: "misdirected_request"},
		"a name that begins like our own": {host: "localhost.evil.example", status: 421, code: "misdirected_request"},
		"an address of the network":       {host: "192.168.1.7:8080", status: 421, code: "misdirected_request"},
		"no host":                         {host: "", status: 421, code: "misdirected_request"},
		"across sites": {
			host: "127.0.0.1:8080", headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
			status: 403, code: "forbidden",
		},
		"the same site is another origin": {
			host: "localhost:8080", headers: map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
			status: 403, code: "forbidden",
		},
		"a foreign origin": {host: "127.0.0.1:8080", headers: map[string]string{"Origin": "http://evil.example"}, status: 403, code: "forbidden"},
		"no origin":        {host: "127.0.0.1:8080", headers: map[string]string{"Origin": "null"}, status: 403, code: "forbidden"},
		"its own origin":   {host: "127.0.0.1:8080", headers: map[string]string{"Origin": "http://127.0.0.1:8080"}, status: 404},
		"a token decides": {
			host: "rebind.evil.example", tokens: []string{token},
			headers: map[string]string{"Authorization": "Bearer " + token, "Origin": "http://evil.example"}, status: 404,
		},
	} {
		t.Run(name, func(t *testing.T) {
			handler, err := httpapi.New(config, httpapi.Deps{Tokens: tc.tokens, Log: zap.NewNop()})
			if err != nil {
				t.Fatal(err)
			}
			// No such route: the guard runs before routing.
			r := httptest.NewRequest(http.MethodPost, "/nothing", nil)
			r.Host = tc.host
			for name, value := range tc.headers {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			var p struct{ Code string }
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if tc.code == "" {
				tc.code = "not_found"
			}
			if w.Code != tc.status || p.Code != tc.code {
				t.Errorf("got %d %s, want %d %s", w.Code, p.Code, tc.status, tc.code)
			}
		})
	}
}

func TestHostsReadingAcrossSitesIsTheBrowsersBusiness(t *testing.T) {
	server, _ := broken(t, func(*httpapi.Deps) {})
	r, err := http.NewRequest(http.MethodGet, server.URL+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("got %s with Access-Control-Allow-Origin %q, want 200 and none", res.Status, res.Header.Get("Access-Control-Allow-Origin"))
	}
}

func TestGuardOfTheAdminListener(t *testing.T) {
	const token = "0123456789abcdef"
	for name, tc := range map[string]struct {
		address, host, authorization string
		want                         int
	}{
		"loopback":                        {"127.0.0.1:9180", "127.0.0.1:9180", "", 404},
		"localhost":                       {"127.0.0.1:9180", "localhost", "", 404},
		"a foreign name":                  {"127.0.0.1:9180", "rebind.evil.example", "", 421},
		"from the network":                {"0.0.0.0:9180", "192.168.1.5:9180", "Bearer " + token, 404},
		"from the network by a name":      {"0.0.0.0:9180", "pi.lan:9180", "Bearer " + token, 404},
		"by a foreign name":               {"0.0.0.0:9180", "rebind.evil.example", "Bearer " + token, 421},
		"from the network without token":  {"0.0.0.0:9180", "192.168.1.5:9180", "", 401},
		"from loopback on all interfaces": {":9180", "127.0.0.1:9180", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Host = tc.host
			r.Header.Set("Authorization", tc.authorization)
			w := httptest.NewRecorder()
			httpapi.Guard(http.NotFoundHandler(), tc.address, []string{token}, "pi.lan").ServeHTTP(w, r)
			if w.Code != tc.want {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, tc.want)
			}
			id := w.Header().Get("X-Request-Id")
			if id == "" {
				t.Error("the response has no X-Request-Id")
			}
			if tc.want == http.StatusNotFound {
				return // of the handler behind
			}
			var p struct {
				Status    int
				Code      string
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != tc.want || p.Code == "" || p.RequestID != id ||
				w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s is no problem with the id %s", w.Body, id)
			}
		})
	}
}

func TestHostsAllowedHostsAreNames(t *testing.T) {
	for host, valid := range map[string]bool{
		"photos.lan": true, "192.168.1.7": true, "[fd00::1]": true,
		"xn--mnchen-3ya.example": true, "münchen.example": false,
		"": false, "photos.lan:8080": false, "http://photos.lan": false, "photos.lan/x": false, "a b": false,
	} {
		c := httpapi.DefaultConfig()
		c.AllowedHosts = []string{host}
		if err := c.Validate(); (err == nil) != valid {
			t.Errorf("http.allowed_hosts: [%q]: got %v", host, err)
		}
	}
}

func TestMistakesAreAllReportedBesideAnAllowedHost(t *testing.T) {
	c := httpapi.DefaultConfig()
	c.AllowedHosts, c.BodyRate, c.TrustedProxies = []string{"photos.lan:80"}, -1, []string{"lan"}
	err := c.Validate()
	for _, key := range []string{"http.allowed_hosts[0]", "http.body_rate", "http.trusted_proxies[0]"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%v, want %s in it", err, key)
		}
	}
}

func TestReadinessDetailsAreForTokenHolders(t *testing.T) {
	const token = "0123456789abcdef"
	server, _ := broken(t, func(d *httpapi.Deps) {
		d.Tokens = []string{token}
		d.Checks = httpapi.Checks{"tunnel": func() (string, error) { return "4 connections: fra08", nil }}
	})
	for authorization, want := range map[string]string{"": "", "Bearer " + token: "4 connections: fra08"} {
		r, err := http.NewRequest(http.MethodGet, server.URL+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", authorization)
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var got struct {
			Parts map[string]struct{ Status, Detail string }
		}
		if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if p := got.Parts["tunnel"]; res.StatusCode != http.StatusOK || p.Status != "ready" || p.Detail != want {
			t.Errorf("Authorization %q: got %s %+v, want ready with the detail %q", authorization, res.Status, p, want)
		}
	}
}

func TestConfigReportsEveryMistake(t *testing.T) {
	c := httpapi.DefaultConfig()
	c.SyncWait, c.AllowedHosts, c.TrustedProxies = 0, []string{"a:1", "b:2"}, []string{"c"}
	err := c.Validate()
	for _, key := range []string{"http.sync_wait", "http.allowed_hosts[0]", "http.allowed_hosts[1]", "http.trusted_proxies[0]"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("no %s in %v", key, err)
		}
	}
}
