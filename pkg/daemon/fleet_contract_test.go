//go:build fleet

package daemon_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// byTurns sends each request to another node, as a load balancer does.
type byTurns struct {
	http.RoundTripper
	nodes []*daemontest.Server
	next  atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (b *byTurns) RoundTrip(r *http.Request) (*http.Response, error) {
	u, err := url.Parse(b.nodes[int(b.next.Add(1))%len(b.nodes)].URL)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Host = u.Host
	return b.RoundTripper.RoundTrip(r)
}

// balanced returns the first of the nodes, with requests that go to all by turns.
func balanced(nodes []*daemontest.Server) *daemontest.Server {
	s := nodes[0]
	s.HTTP.Transport = &byTurns{RoundTripper: s.HTTP.Transport, nodes: nodes}
	return s
}

// The answers that only a daemon has which is full, damaged or behind slow clients.
func needsAnotherDaemon(key string) bool {
	status := key[len(key)-3:]
	return slices.Contains([]string{"408", "429", "500", "507"}, status) || slices.Contains([]string{"POST /v1/images 409", "DELETE /jobs/{id} 204", "GET /readyz 503"}, key)
}

func TestFleetAnswersAreThoseOfTheDocumentWhoeverIsAsked(t *testing.T) {
	t.Parallel()
	const token = "the-token"
	s := balanced(startNodes(t, 3, fleettest.Start(t, 1), s3test.Start(t).URL, limitBytes(1<<20), func(c *config.Config) {
		c.Auth.Tokens = []config.Secret{token}
		c.Storage.KeepOriginals = true
	}))
	w := &walker{t: t, s: s, with: daemontest.Header("Authorization", "Bearer "+token)}
	w.image = s.Upload(daemontest.SmallJPEG(t, 70), w.with).Manifest(t, http.StatusCreated)
	w.file = "/files/" + w.image.Variants[0].Key
	w.imageJob = `{"input": "image:` + w.image.ID + `", "options": {"width": 10}}`
	location := w.order(s, `{"input": "https://127.0.0.1/cat.jpg"}`)().Header.Get("Location")
	w.failed = strings.TrimPrefix(location, "/jobs/")
	if j := s.Get(location, daemontest.Header("Prefer", "wait=60"), w.with).Job(t, http.StatusOK); j.Status != "failed" {
		t.Fatalf("a job that cannot be fetched is %s", j.Status)
	}
	all := make(provoked)
	for _, p := range []provoked{w.ofImages(), w.ofJobs(), w.ofJobsThatAreManaged(), w.ofFilesAndTheRest()} {
		maps.Copy(all, p)
	}
	for key, provoke := range all {
		if needsAnotherDaemon(key) {
			continue
		}
		for range len(s.HTTP.Transport.(*byTurns).nodes) + 1 { // so that each node gives each answer, but for what is made once
			a := provoke()
			got := a.Request.Method + " " + s.Contract.Find(a.Request.Method, a.Request.URL.Path).Path + " " + a.Status[:3]
			if got != key {
				t.Errorf("%s: got %s %s", key, got, a.Body)
			}
			if slices.Contains([]string{"POST /v1/images 201", "POST /v1/images 202", "POST /jobs/{id}/retry 202"}, key) {
				break
			}
		}
	}
}

func TestFleetLinkOfOneNodeOpensAtAnother(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, fleettest.Start(t, 1), s3test.Start(t).URL, func(c *config.Config) { c.Auth.Tokens = []config.Secret{"the-token-of-all"} })
	with := daemontest.Bearer(nodes[0].Config)
	location := nodes[0].Upload(daemontest.SmallJPEG(t, 1), with, daemontest.Header("Prefer", "respond-async")).Header.Get("Location")
	j := nodes[0].Get(location, daemontest.Header("Prefer", "wait=60"), with).Job(t, http.StatusOK)
	if j.Output == nil {
		t.Fatalf("the job is %s", j.Status)
	}
	link, err := url.Parse(j.Output.URL)
	if err != nil || link.RawQuery == "" {
		t.Fatalf("the link is %s, %v", j.Output.URL, err)
	}
	for _, s := range nodes {
		if a := s.Get(link.RequestURI()); a.StatusCode != http.StatusOK {
			t.Errorf("without a token: %s %s", a.Status, a.Body)
		}
		if a := s.Get(link.Path); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("without a signature: %s", a.Status)
		}
	}
}

func TestFleetWaitingJobIsCanceledAtAnyNode(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, fleettest.Start(t, 1), s3test.Start(t).URL)
	for i, s := range nodes { // each is busy with one
		s.Freeze()
		s.Submit(daemontest.SmallJPEG(t, uint64(i)))
	}
	daemontest.Eventually(t, "both are busy", func() bool {
		return nodes[0].Metric("optimizerd_jobs_running") == 1 && nodes[1].Metric("optimizerd_jobs_running") == 1
	})
	answered := make(chan daemontest.Answer, 1)
	go func() {
		a, err := nodes[0].TryUpload(daemontest.SmallJPEG(t, 9))
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	var page struct {
		Items []daemontest.Job
		Next  *string
	}
	daemontest.Eventually(t, "it waits", func() bool {
		nodes[1].Get("/jobs?status=pending").Decode(t, &page, http.StatusOK)
		return len(page.Items) == 1
	})
	path := "/jobs/" + page.Items[0].ID
	if a := nodes[1].Request(http.MethodDelete, path, nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("cancel: %s %s", a.Status, a.Body)
	}
	if a := <-answered; a.StatusCode != http.StatusConflict || a.Code() != string(fault.Canceled) {
		t.Errorf("its client gets %s %s", a.Status, a.Body)
	}
	nodes[0].Request(http.MethodDelete, path, nil).CheckProblem(t, string(fault.Conflict))
}

func TestFleetFullQueueRefusesAtEveryNodeBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, fleettest.Start(t, 1), s3test.Start(t).URL, func(c *config.Config) { c.Queue.MaxPending = 3 })
	for _, s := range nodes {
		s.Freeze()
	}
	for i := range 3 {
		nodes[i%2].Submit(daemontest.SmallJPEG(t, uint64(i)))
	}
	for i, s := range nodes {
		daemontest.Eventually(t, fmt.Sprintf("node %d knows it", i+1), func() bool { // its count is at most a second old
			return strings.Contains(string(s.Get("/readyz").Body), `"queue":{"status":"not_ready"`)
		})
		if a := refusedUnread(s, t, 1<<20, string(fault.QueueFull)); a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
}
