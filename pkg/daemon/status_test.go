package daemon_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/status"
)

// admin gets a path of the admin listener, for a browser that believes it is at host.
func admin(t *testing.T, s *daemontest.Server, path, host string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestTheStatusPageAndItsData(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t)
	m := s.Upload(daemontest.SmallJPEG(t, 11)).Manifest(t, http.StatusCreated)
	s.Upload([]byte("\xff\xd8\xff\xe0 not a photo")).CheckProblem(t, "corrupt_image")
	res, page := admin(t, s, "/", "")
	if res.StatusCode != http.StatusOK || !strings.Contains(page, "<title>optimizerd</title>") || !strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page is %s: %.200s", res.Status, page)
	}
	var r status.Report
	if _, b := admin(t, s, status.Path, ""); json.Unmarshal([]byte(b), &r) != nil || len(r.Jobs) != 2 || r.Jobs[0].Code != "corrupt_image" || r.Jobs[1].ImageID != m.ID {
		t.Errorf("the report is %s", b)
	}
	if res, _ := admin(t, s, "/thumbnails/"+m.ID, ""); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "image/") {
		t.Errorf("the thumbnail is %s", res.Status)
	}
	for _, path := range []string{"/", status.Path, "/thumbnails/" + m.ID} {
		if res, _ := admin(t, s, path, "evil.example.com"); res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s for another host is %s", path, res.Status)
		}
	}
}
