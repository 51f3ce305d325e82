package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestImportFetchesEachURLOnce(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d.jpg", &n); err != nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(smallPhoto(t, n))
	}))
	defer origin.Close()
	port := origin.URL[strings.LastIndexByte(origin.URL, ':')+1:]
	s := serve(t, t.TempDir(), "ladder.widths=32", "fetch.allow_private=true", "fetch.ports=80,443,"+port)
	list, journal := filepath.Join(t.TempDir(), "urls.txt"), filepath.Join(t.TempDir(), "journal")
	put(t, list, fmt.Appendf(nil, "# mine\n%[1]s/1.jpg\n\n%[1]s/2.jpg\n%[1]s/1.jpg\n%[1]s/gone\n", origin.URL))
	stdout, stderr, status := run(t, "import", "--from-list", list, "--to", s.url, "--journal", journal)
	if counts, _ := statuses(t, stdout); status != 1 || counts["made"] != 2 || counts["failed"] != 1 || !strings.Contains(stdout, "input_not_found") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	stdout, _, _ = run(t, "import", "--from-list", list, "--to", s.url, "--journal", journal)
	if counts, _ := statuses(t, stdout); counts["there"] != 2 {
		t.Errorf("the second time: %s", stdout)
	}
}

// standInImages stands in for the API of Cloudflare Images: the list in pages of two,
// and the bytes of each image. It is not Cloudflare's: it answers as the published
// API says.
type standInImages struct {
	*httptest.Server
	images []map[string]any
	files  map[string][]byte

	mu    sync.Mutex
	blobs map[string]int // requests
	blob  func(w http.ResponseWriter, r *http.Request, nth int) (done bool)
}

const (
	standInAccount = "023e105f4ecef8ad9ca31a8372d0c353"
	standInToken   = "cloudflare-token-for-tests"
)

func startStandInImages(t *testing.T, photos int) *standInImages {
	t.Helper()
	s := &standInImages{files: make(map[string][]byte), blobs: make(map[string]int)}
	for i := range photos {
		id := fmt.Sprintf("album/%d", i) // an id of its owner's choice
		s.files[id] = smallPhoto(t, i)
		s.images = append(s.images, map[string]any{
			"id": id, "filename": fmt.Sprintf("photo-%d.jpg", i), "uploaded": fmt.Sprintf("2026-01-02T03:04:%02d.000Z", i),
			"requireSignedURLs": false, "variants": []string{}, "meta": map[string]string{"a": "b"},
		})
	}
	s.images = append(s.images, map[string]any{"id": "announced", "uploaded": "2026-01-02T04:00:00.000Z", "draft": true})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /accounts/"+standInAccount+"/images/v2", s.list)
	mux.HandleFunc("GET /accounts/"+standInAccount+"/images/v1/{id}/blob", s.read)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+standInToken {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[],"result":null}`))
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *standInImages) list(w http.ResponseWriter, r *http.Request) {
	const size = 2
	from, _ := strconv.Atoi(r.URL.Query().Get("continuation_token"))
	result := map[string]any{"images": s.images[from:min(from+size, len(s.images))], "continuation_token": nil}
	if from+size < len(s.images) {
		result["continuation_token"] = strconv.Itoa(from + size)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"success": true, "errors": []any{}, "messages": []any{}, "result": result})
}

func (s *standInImages) read(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	s.mu.Lock()
	s.blobs[id]++
	nth := s.blobs[id]
	s.mu.Unlock()
	if s.blob != nil && s.blob(w, r, nth) {
		return
	}
	_, _ = w.Write(s.files[id])
}

// args are those of an import from it.
func (s *standInImages) args(t *testing.T, to, journal string) []string {
	t.Helper()
	return []string{
		"import", "--from", "cloudflare-images", "--account-api", s.URL, "--account-id", standInAccount,
		"--account-token-file", tokenFile(t, standInToken), "--to", to, "--journal", journal, "--parallel", "1",
	}
}

func TestImportFromCloudflareImagesOverAFailingNetwork(t *testing.T) {
	from := startStandInImages(t, 5)
	from.blob = func(w http.ResponseWriter, r *http.Request, nth int) bool {
		switch {
		case nth > 1:
			return false
		case r.PathValue("id") == "album/1": // cut in the middle
			w.Header().Set("Content-Length", "5000")
			_, _ = w.Write(from.files["album/1"][:300])
			panic(http.ErrAbortHandler)
		case r.PathValue("id") == "album/2":
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		default:
			return false
		}
	}
	s := serve(t, t.TempDir(), "ladder.widths=32")
	journal := filepath.Join(t.TempDir(), "journal")
	stdout, stderr, status := run(t, from.args(t, s.url, journal)...)
	if counts, images := statuses(t, stdout); status != 0 || counts["made"] != 5 || len(images) != 5 {
		t.Fatalf("status %d: %s%s", status, stdout, stderr)
	}
	var page struct {
		Items []struct{ Source struct{ Filename string } }
	}
	s.do(t, http.MethodGet, "/v1/images?limit=100", nil, nil, &page)
	names := make(map[string]bool)
	for _, m := range page.Items {
		names[m.Source.Filename] = true
	}
	if len(page.Items) != 5 || !names["photo-3.jpg"] {
		t.Errorf("the daemon has %v", names)
	}
	stdout, stderr, status = run(t, from.args(t, s.url, journal)...)
	if counts, _ := statuses(t, stdout); status != 0 || counts["there"] != 5 || from.blobs["album/0"] != 1 {
		t.Errorf("the second time: status %d, album/0 was read %d times: %s%s", status, from.blobs["album/0"], stdout, stderr)
	}
}

func TestInterruptedImportGoesOn(t *testing.T) {
	from := startStandInImages(t, 4)
	reached := make(chan struct{})
	from.blob = func(_ http.ResponseWriter, r *http.Request, nth int) bool {
		if r.PathValue("id") != "album/2" || nth > 1 {
			return false
		}
		close(reached)
		<-r.Context().Done() // of the interrupted import
		return true
	}
	s := serve(t, t.TempDir(), "ladder.widths=32")
	journal := filepath.Join(t.TempDir(), "journal")
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "optimizerd"), from.args(t, s.url, journal)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its state says how it ended
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(stderr.String(), "2 of 4 images done, 2 left") {
		t.Errorf("interrupted: status %d: %s", code, stderr.String())
	}
	stdout, _, status := run(t, from.args(t, s.url, journal)...)
	if counts, images := statuses(t, stdout); status != 0 || counts["there"] != 2 || counts["made"] != 2 || len(images) != 4 {
		t.Errorf("again: status %d: %s", status, stdout)
	}
}

func TestImportSaysWhatIsWrong(t *testing.T) {
	from := startStandInImages(t, 1)
	id, token := []string{"--account-id", standInAccount}, []string{"--account-token-file", tokenFile(t, "another")}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "at least one of the flags"},
		{[]string{"--from", "ftp://x"}, "must be s3://BUCKET/PREFIX or cloudflare-images"},
		{[]string{"--from", "s3://photos"}, "--s3-endpoint: must be set"},
		{[]string{"--from", "cloudflare-images"}, "not the id of an account"},
		{append([]string{"--from", "cloudflare-images"}, id...), "a token of the API is required"},
		{append([]string{"--from", "cloudflare-images", "--account-token-file", "missing"}, id...), "optimizerd: --account-token-file: open missing"},
		{append(append([]string{"--from", "cloudflare-images", "--account-api", from.URL}, id...), token...), "Authentication error (10000); the token needs the permission"},
	} {
		args := append([]string{"import", "--config", "", "--journal", filepath.Join(t.TempDir(), "j")}, tc.args...)
		if _, stderr, status := run(t, args...); status != 1 || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: status %d: %s, want %q", tc.args, status, stderr, tc.want)
		}
	}
}
