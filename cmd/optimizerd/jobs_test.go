package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/client"
	"github.com/optimizerd/optimizerd/pkg/servertest"
)

// origin serves a small photo at each path, or fails while broken is set.
func origin(t *testing.T, broken *atomic.Bool) (url, port string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write(smallPhoto(t, len(r.URL.Path)))
	}))
	t.Cleanup(s.Close)
	return s.URL, s.URL[strings.LastIndexByte(s.URL, ':')+1:]
}

func (s *server) request(t *testing.T, input string) string {
	t.Helper()
	var j jobAnswer
	s.do(t, http.MethodPost, "/jobs", []byte(`{"input":"`+input+`"}`), map[string]string{"Content-Type": "application/json"}, &j)
	return j.ID
}

func decodeLines[T any](t *testing.T, stdout string) (all []T) {
	t.Helper()
	for line := range strings.Lines(stdout) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, v)
	}
	return all
}

func TestFailedJobIsRetriedAfterTheDaemonWasKilled(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	from, port := origin(t, &broken)
	data := t.TempDir()
	start := func() *server {
		return serve(t, data, "ladder.widths=32", "fetch.allow_private=true", "fetch.ports="+port)
	}
	s := start()
	first, second := s.request(t, from+"/1"), s.request(t, from+"/22")
	s.end(t, first)
	s.end(t, second)
	stdout := says(t, 0, "input_refused", "jobs", "list", "--to", s.url, "--status", "failed", "--json")
	if jobs := decodeLines[client.Job](t, stdout); len(jobs) != 2 || jobs[0].ID != second || jobs[0].Error == nil || jobs[0].Error.Code != "input_refused" {
		t.Fatalf("the failed jobs are %s", stdout)
	}
	broken.Store(false)
	says(t, 0, first+" queued again", "jobs", "retry", "--to", s.url, first)
	if j := s.end(t, first); j.Status != "completed" {
		t.Errorf("retried, the job is %s", j.Status)
	}
	s.kill(t)
	s = start()
	if stdout := says(t, 0, second, "jobs", "retry", "--to", s.url, "--failed"); stdout != second+" queued again\n" {
		t.Errorf("retry --failed: %s", stdout)
	}
	if j := s.end(t, second); j.Status != "completed" {
		t.Errorf("retried, the second job is %s", j.Status)
	}
	says(t, 1, "has not failed", "jobs", "retry", "--to", s.url, second)
	if stdout := says(t, 0, "completed", "jobs", "list", "--to", s.url); strings.Count(stdout, "completed") != 2 || strings.Contains(stdout, "failed") {
		t.Errorf("the jobs are\n%s", stdout)
	}
	says(t, 0, `"manifest"`, "jobs", "show", "--to", s.url, first)
	s.kill(t)
	says(t, 1, "is the daemon running?", "jobs", "list", "--to", s.url)
}

func TestJobThatWaitsIsCanceled(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "ladder.widths=32", "codec.processes=1")
	s.stopCodecs(t)
	var running, waiting jobAnswer
	async := map[string]string{"Prefer": "respond-async"}
	s.do(t, http.MethodPost, "/v1/images", smallPhoto(t, 1), async, &running)
	await(t, "the first job runs", func() bool {
		var j jobAnswer
		s.do(t, http.MethodGet, "/jobs/"+running.ID, nil, nil, &j)
		return j.Status == "processing"
	})
	s.do(t, http.MethodPost, "/v1/images", smallPhoto(t, 2), async, &waiting)
	stdout, stderr, status := run(t, "jobs", "cancel", "--to", s.url, waiting.ID, running.ID)
	if status != 1 || stdout != waiting.ID+" canceled\n" || !strings.Contains(stderr, "only a waiting job") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	if j := s.end(t, waiting.ID); j.Status != "failed" {
		t.Errorf("canceled, it is %s", j.Status)
	}
	s.kill(t)
	s = serve(t, dir, "ladder.widths=32")
	s.completes(t, dir, []string{running.ID}) // and nothing is left of the canceled one
	stdout, _, _ = run(t, "jobs", "list", "--to", s.url, "--status", "failed", "--json")
	if jobs := decodeLines[client.Job](t, stdout); len(jobs) != 1 || jobs[0].ID != waiting.ID || jobs[0].Error.Code != "canceled" || jobs[0].Attempts != 0 {
		t.Errorf("failed jobs: %s", stdout)
	}
	if stdout, stderr, status = run(t, "jobs", "retry", "--to", s.url, "--failed"); status != 0 || stdout != waiting.ID+" queued again\n" {
		t.Errorf("retry of an upload: status %d: %s%s", status, stdout, stderr)
	}
	if j := s.end(t, waiting.ID); j.Status != "completed" {
		t.Errorf("retried, it is %s", j.Status)
	}
}

func TestImagesAreFoundAndDeleted(t *testing.T) {
	s := serve(t, t.TempDir(), "ladder.widths=32", "auth.tokens_file="+tokenFile(t, "0123456789abcdefghij"))
	token := tokenFile(t, "0123456789abcdefghij")
	in := smallPhotos(t, 3)
	put(t, filepath.Join(in, "Holiday.JPG"), smallPhoto(t, 50))
	to := []string{"--to", s.url, "--token-file", token}
	args := func(words ...string) []string { return append(words, to...) }
	says(t, 0, "made", args("upload", in, "--journal", filepath.Join(t.TempDir(), "j"))...)
	if stdout := says(t, 0, "Holiday.JPG", args("images", "list")...); strings.Count(stdout, "\n") != 5 {
		t.Errorf("the list is\n%s", stdout)
	}
	says(t, 0, "no images\n", args("images", "find", "--older-than", "1h")...)
	stdout := says(t, 0, "", args("images", "find", "--filename", "holi*.jpg", "--newer-than", "1d", "--smaller-than", "1MB", "--json")...)
	found := decodeLines[client.Set](t, stdout)
	if len(found) != 1 || found[0].Source.Filename != "Holiday.JPG" {
		t.Fatalf("by name: %s", stdout)
	}
	says(t, 0, found[0].ID, args("images", "find", "--sha256", found[0].Source.SHA256[:10])...)
	says(t, 1, "would be deleted: 3;", args("images", "delete", "--filename", "0*")...)
	if stdout := says(t, 0, " deleted\n", args("images", "delete", "--filename", "0*", "--yes")...); strings.Count(stdout, " deleted\n") != 3 {
		t.Errorf("deleted are\n%s", stdout)
	}
	says(t, 0, found[0].ID, args("images", "delete", found[0].ID)...)
	says(t, 1, "not an image id", args("images", "delete", "cat")...)
	says(t, 0, "no images\n", args("images", "list")...)
	says(t, 1, "token", "images", "list", "--to", s.url)
}

func TestDeletionGoesOnAfterTheDaemonWasKilled(t *testing.T) {
	data, address := t.TempDir(), servertest.FreeAddress(t)
	start := func() *server { return serve(t, data, "http.listen="+address, "ladder.widths=32") }
	s := start()
	kept := s.optimize(t, smallPhoto(t, 1)).ID
	doomed := []string{s.optimize(t, smallPhoto(t, 2)).ID, s.optimize(t, smallPhoto(t, 3)).ID}
	args := append([]string{"images", "delete", "--to", s.url}, doomed...)
	says(t, 0, doomed[0]+" deleted\n", args[:len(args)-1]...)
	s.kill(t)
	says(t, 1, "is the daemon running?", args...)
	says(t, 1, "is the daemon running?", "images", "list", "--to", s.url)
	s = start()
	says(t, 0, doomed[0]+" deleted\n"+doomed[1]+" deleted\n", args...) // what is gone is no failure
	if stdout := says(t, 0, kept, "images", "list", "--to", s.url); strings.Count(stdout, "\n") != 2 {
		t.Errorf("left are\n%s", stdout)
	}
}

func TestWebhooksThatWereNotDelivered(t *testing.T) {
	var refuse atomic.Bool
	var got atomic.Int32
	refuse.Store(true)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() || r.Header.Get("webhook-signature") == "" {
			w.Header().Set("Retry-After", "3600") // so that no attempt comes by itself
			w.WriteHeader(http.StatusTeapot)
			return
		}
		got.Add(1)
	}))
	defer receiver.Close()
	port := receiver.URL[strings.LastIndexByte(receiver.URL, ':')+1:]
	data, admin := t.TempDir(), servertest.FreeAddress(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	put(t, file, []byte("webhook: {secrets: [whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=]}\nfetch: {allow_private: true, ports: ["+port+"]}\n"+
		"ladder: {widths: [32]}\nstorage: {dir: "+data+"}\nadmin: {listen: "+admin+"}\nauth: {tokens: [0123456789abcdefghij]}\nhttp: {listen: 127.0.0.1:0}\n"))
	t.Setenv("OPTIMIZERD_CONFIG", file)
	_, stderr, status := run(t, "webhooks", "test", receiver.URL+"/hook", "--config", file)
	if status != 1 || !strings.Contains(stderr, "receiver answered status 418") {
		t.Errorf("test of one that refuses: status %d: %s", status, stderr)
	}
	start := func() *server { return serve(t, data, "admin.listen="+admin, "fetch.ports="+port) }
	s := start()
	s.do(t, http.MethodPost, "/v1/images?webhook_url="+receiver.URL+"/hook%3Fsecret", smallPhoto(t, 1), map[string]string{"Authorization": "Bearer 0123456789abcdefghij"}, &jobAnswer{})
	list := func() string {
		t.Helper()
		stdout, _, _ := run(t, "webhooks", "list", "--config", file)
		return stdout
	}
	await(t, "one attempt has failed", func() bool { return strings.Contains(list(), "status 418") })
	if strings.Contains(list(), "secret") {
		t.Errorf("it shows the query of the URL:\n%s", list())
	}
	id := strings.Fields(strings.Split(list(), "\n")[1])[0]
	s.kill(t)
	if stdout := list(); !strings.Contains(stdout, id) {
		t.Errorf("without the daemon the list is\n%s", stdout)
	}
	says(t, 1, "is the daemon running?", "webhooks", "retry", id, "--config", file)
	start()
	refuse.Store(false)
	if stdout, stderr, status := run(t, "webhooks", "retry", id, "--config", file); status != 0 {
		t.Errorf("retry: status %d: %s%s", status, stdout, stderr)
	}
	await(t, "it is delivered", func() bool { return got.Load() == 1 && list() == "no webhooks\n" })
	if _, stderr, status := run(t, "webhooks", "retry", id, "--config", file); status != 1 || !strings.Contains(stderr, "may have been delivered") {
		t.Errorf("retry of a delivered one: status %d: %s", status, stderr)
	}
	if stdout, stderr, status := run(t, "webhooks", "test", receiver.URL+"/hook", "--config", file); status != 0 || stdout != "accepted\n" {
		t.Errorf("test: status %d: %s%s", status, stdout, stderr)
	}
	res, err := http.Post("http://"+admin+"/webhooks/"+id+"/retry", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("retry without a token: %s", res.Status)
	}
}

func TestIDsOfJobsAreCompleted(t *testing.T) {
	s := serve(t, t.TempDir(), "ladder.widths=32")
	var j jobAnswer
	s.do(t, http.MethodPost, "/v1/images", smallPhoto(t, 1), map[string]string{"Prefer": "respond-async"}, &j)
	s.end(t, j.ID)
	cmd := exec.Command(filepath.Join(bin, "optimizerd"), "__complete", "jobs", "show", "--to", s.url, "job_")
	cmd.Env = os.Environ()
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), j.ID) {
		t.Errorf("%v: %s", err, out)
	}
}

// As version 0.1.0 answers.
func TestJobsAndStatusNameAnOlderDaemon(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/jobs" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = w.Write([]byte(`{"type":"about:blank","title":"Method not allowed","status":405,"detail":"This path allows POST.","code":"method_not_allowed"}`))
	}))
	defer s.Close()
	for _, args := range [][]string{{"jobs", "list", "--to", s.URL}, {"status", "--address", strings.TrimPrefix(s.URL, "http://")}} {
		if _, stderr, exit := run(t, args...); exit != 1 || !strings.Contains(stderr, "older version") {
			t.Errorf("%v: status %d, %s", args, exit, stderr)
		}
	}
}
