//go:build fleet

package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
)

// Nodes that differ in what they can do. A stand-in that is "blind" does not read
// HEIC, and only one whose name has "avif" writes AVIF.

const toAVIF = `{"width":20,"format":"avif"}`

// request requests an image by URL at a node.
func (s *arena) request(m *member, name, options string) daemontest.Answer {
	s.t.Helper()
	a, err := s.try(http.MethodPost, m.serving()+"/jobs", fmt.Appendf(nil, `{"input":"%s/%s","options":%s}`, s.origin.URL, strings.ReplaceAll(name, " ", "%20"), options), daemontest.JSON)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// ended waits until a job has ended.
func (s *arena) ended(m *member, id string) (j jobNews) {
	s.t.Helper()
	daemontest.Eventually(s.t, "job "+id+" ends", func() bool {
		a, err := s.try(http.MethodGet, m.serving()+"/jobs/"+id, nil, daemontest.Header("Prefer", "wait=2"))
		j = jobNews{}
		return err == nil && json.Unmarshal(a.Body, &j) == nil && (j.Status == "completed" || j.Status == "failed")
	})
	return j
}

func TestFleetJobGoesToANodeThatCanDoIt(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	small := s.join("codec.path="+standin(t, "blind"), "limits.max_bytes=100")
	blind := s.join("codec.path=" + standin(t, "blind-too"))
	awaitServing(t, small, blind) // what is accepted now can only be passed on
	able := s.join("codec.path=" + standin(t, "avif"))
	awaitServing(t, able)
	jobs := map[string]string{
		s.async(blind, "upload heic"):                                           "a source that only one node reads",
		s.request(blind, "by-url heic", "{}").Job(t, http.StatusAccepted).ID:    "the same by URL",
		s.request(blind, "to-avif", toAVIF).Job(t, http.StatusAccepted).ID:      "a format that only one node writes",
		s.request(small, "over-the-limit", "{}").Job(t, http.StatusAccepted).ID: "a source over the limit of one node",
	}
	m := s.made(blind, "waited-for heic")
	if err := setOnDisk(s.store, m.ID); err != nil {
		t.Error(err)
	}
	for id, what := range jobs {
		if j := s.ended(blind, id); j.Status != "completed" || j.Attempts != 1 {
			t.Errorf("%s: %s at attempt %d, %s; want completed at attempt 1", what, j.Status, j.Attempts, j.Error.Code)
		}
	}
	daemontest.Eventually(t, "no message is left", func() bool { return len(s.servers.Subjects(t, fleettest.Work)) == 0 })
}

func TestFleetRefusesWhatNoNodeCanDo(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	first, second := s.join("codec.path="+standin(t, "blind")), s.join("codec.path="+standin(t, "blind-too"))
	awaitServing(t, first, second)
	for _, m := range s.members {
		s.request(m, "to-avif", toAVIF).CheckProblem(t, string(fault.InvalidOptions))
		a, err := s.try(http.MethodPost, m.serving()+"/v1/images", s.source("waited-for heic"))
		if err != nil {
			t.Fatal(err)
		}
		a.CheckProblem(t, string(fault.UnsupportedFormat))
		if j := s.ended(m, s.request(m, "by-url heic", "{}").Job(t, http.StatusAccepted).ID); j.Status != "failed" || j.Error.Code != string(fault.UnsupportedFormat) || j.Attempts != 1 {
			t.Errorf("%s with %s at attempt %d", j.Status, j.Error.Code, j.Attempts)
		}
	}
}

func TestFleetJobWaitsForTheNodeThatCanDoIt(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	blind := s.join("codec.path=" + standin(t, "blind"))
	avif := "codec.path=" + standin(t, "avif")
	able := s.join(avif)
	awaitServing(t, blind, able)
	reached, release := s.holdPuts(".avif")
	inWork := s.request(able, "in-work", toAVIF).Job(t, http.StatusAccepted).ID
	<-reached
	able.stop(syscall.SIGKILL)
	release()
	waiting := s.request(blind, "to-avif", toAVIF).Job(t, http.StatusAccepted).ID
	heic := s.async(blind, "image heic")
	daemontest.Eventually(t, "the node that is left has passed on it", func() bool { return blind.logged(t, "job left to another node") > 0 })
	for _, id := range []string{waiting, heic} {
		if j := s.job(blind, id); j.Status == "failed" || j.Attempts > 1 {
			t.Errorf("while the able node is away: %s with %s at attempt %d", j.Status, j.Error.Code, j.Attempts)
		}
	}

	heir := s.join(avif)
	awaitServing(t, heir)
	for id, attempts := range map[string]int{inWork: 2, waiting: 1, heic: 1} {
		if j := s.ended(blind, id); j.Status != "completed" || j.Attempts != attempts {
			t.Errorf("%s with %s at attempt %d, want completed at %d", j.Status, j.Error.Code, j.Attempts, attempts)
		}
	}

	heir.stop(syscall.SIGTERM)
	waiting = s.request(blind, "another", toAVIF).Job(t, http.StatusAccepted).ID
	heic = s.async(blind, "another heic")
	s.servers.Forget(t, "able.") // the time for which they are waited for
	for id, code := range map[string]fault.Code{waiting: fault.InvalidOptions, heic: fault.UnsupportedFormat} {
		if j := s.ended(blind, id); j.Status != "failed" || j.Error.Code != string(code) {
			t.Errorf("after the able nodes are gone: %s with %q, want %s", j.Status, j.Error.Code, code)
		}
	}
}

func TestFleetNodeSaysThatItDiffers(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	first := s.join()
	awaitServing(t, first)
	other := s.join("ladder.widths=16,32", "jobs.keep=1d")
	awaitServing(t, other)
	a, err := s.try(http.MethodGet, other.serving()+"/readyz", nil)
	if err != nil || a.StatusCode != http.StatusOK || !strings.Contains(string(a.Body), "This node and node-1 differ: ladder") || !strings.Contains(string(a.Body), "This node and node-1 differ: settings") {
		t.Errorf("readiness: %v, %s %s", err, a.Status, a.Body)
	}
	if other.logged(t, "nodes differ") != 2 || first.logged(t, "nodes differ") > 2 {
		t.Error("each difference is not logged once")
	}
	m := s.made(first, "image") // each job carries the ladder of the node that accepted it
	if got := s.made(other, "image"); got.ID == m.ID || len(got.Variants) != 2 || len(m.Variants) != 4 {
		t.Errorf("the sets %s of %d and %s of %d variants", m.ID, len(m.Variants), got.ID, len(got.Variants))
	}
}
