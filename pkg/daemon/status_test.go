package daemon_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/status"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
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

func TestStatusPageAndItsData(t *testing.T) {
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

func TestStatusSaysWhatEachCodecProcessDoes(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, daemontest.OneCodec)
	process := func() (p status.Process) {
		t.Helper()
		var r status.Report
		if _, b := admin(t, s, status.Path, ""); json.Unmarshal([]byte(b), &r) != nil || len(r.Codec.Running) != 1 {
			t.Fatalf("the report is %s", b)
		}
		p = r.Codec.Running[0]
		if p.Since.IsZero() || p.Since.After(r.At.Time) || p.Memory < 1<<20 || p.Background {
			t.Errorf("%+v", p)
		}
		p.Since, p.Memory = strictjson.Time{}, 0
		return p
	}
	pid, thaw := s.Freeze()
	if got, want := process(), (status.Process{PID: pid}); got != want {
		t.Errorf("before the first image: %+v, want %+v", got, want)
	}
	body := bytes.NewReader(daemontest.SmallJPEG(t, 1))
	j := s.Request(http.MethodPost, "/v1/images?filename=cat.jpg", body, daemontest.Header("Prefer", "respond-async")).Job(t, http.StatusAccepted)
	var busy status.Process
	daemontest.Eventually(t, "the process works", func() bool {
		busy = process()
		return busy.Busy
	})
	thaw()
	m := s.AwaitJob(j.ID).Output.Manifest
	if want := (status.Process{PID: pid, Busy: true, JobID: j.ID, ImageID: m.ID, Filename: "cat.jpg"}); busy != want {
		t.Errorf("during the image: %+v, want %+v", busy, want)
	}
	if got, want := process(), (status.Process{PID: pid, Images: 1}); got != want {
		t.Errorf("after the image: %+v, want %+v", got, want)
	}
}
