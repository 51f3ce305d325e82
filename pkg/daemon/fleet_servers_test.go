//go:build fleet

package daemon_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
)

// Servers that do not answer, without a word to those connected to them.

func TestFleetMajorityOfServersGoesOn(t *testing.T) {
	t.Parallel()
	s := newArena(t, 3)
	first, second := s.join(), s.join()
	awaitServing(t, first, second)
	random := rand.New(rand.NewPCG(1, 1))
	jobs := make(map[string]string)
	upload := func(name string) {
		t.Helper()
		a, err := s.insist(random, func(node string) (daemontest.Answer, error) {
			return s.try(http.MethodPost, node+"/v1/images", s.source(name), daemontest.Header("Prefer", "respond-async"))
		})
		switch {
		case err != nil || a.StatusCode/100 != 2:
			t.Fatalf("%s: %v, %s", name, err, a.Status)
		case a.StatusCode == http.StatusAccepted:
			jobs[strings.TrimPrefix(a.Header.Get("Location"), "/jobs/")] = name
		}
	}
	leader := s.servers.Leader(t, fleettest.Jobs)
	if err := syscall.Kill(leader.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		upload(fmt.Sprintf("without the leader %d", i))
	}
	s.completes(jobs)
	if err := syscall.Kill(leader.Pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	leader.AwaitReady()
	for i := range 6 {
		upload(fmt.Sprintf("with it %d", i))
	}
	s.completes(jobs)
}

func TestFleetMinorityOfServersRefusesAndComesBack(t *testing.T) {
	t.Parallel()
	s := newArena(t, 3)
	node := s.join()
	awaitServing(t, node)
	m := s.made(node, "first")
	jobs := s.submitAll(node, []string{"before sleep:3s"})
	daemontest.Eventually(t, "it is in work", func() bool { return node.logged(t, "job started") > 0 })
	for _, server := range s.servers.Servers[1:] {
		if err := syscall.Kill(server.Pid(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	daemontest.Eventually(t, "uploads are refused", func() bool {
		a, err := s.try(http.MethodPost, node.serving()+"/v1/images", s.source("refused"))
		return err == nil && a.StatusCode == http.StatusServiceUnavailable && a.Code() == string(fault.Unavailable) && a.Header.Get("Retry-After") != ""
	})
	if a, err := s.try(http.MethodGet, node.serving()+"/files/"+m.Variants[0].Key, nil); err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("a file during the outage: %v, %s", err, a.Status)
	}
	for _, server := range s.servers.Servers[1:] {
		if err := syscall.Kill(server.Pid(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	s.completes(jobs)
	daemontest.Eventually(t, "it accepts uploads again", func() bool {
		a, err := s.try(http.MethodPost, node.serving()+"/v1/images", s.source("afterwards"))
		return err == nil && a.StatusCode/100 == 2
	})
}

// The network between the servers is cut: one has a node, and two have another.
func TestFleetClusterThatIsCutInTwoWorksWhereTheMajorityIs(t *testing.T) {
	t.Parallel()
	servers := fleettest.StartLinked(t, 3)
	s := newArenaOn(t, servers)
	url := func(i int) string { return "fleet.servers=" + servers.Servers[i].URL }
	majority, minority := s.join(url(0)), s.join(url(2))
	awaitServing(t, majority, minority)
	s.made(minority, "first")
	jobs := s.submitAll(minority, named("before-%d sleep:1s", 4))
	restore := servers.Isolate(2)
	daemontest.Eventually(t, "the minority refuses uploads", func() bool {
		a, err := s.try(http.MethodPost, minority.serving()+"/v1/images", s.source("refused"))
		return err == nil && a.StatusCode == http.StatusServiceUnavailable && a.Code() == string(fault.Unavailable)
	})
	daemontest.Eventually(t, "it is not ready", func() bool { return s.ready(minority) == http.StatusServiceUnavailable })
	random := rand.New(rand.NewPCG(1, 1))
	s.members = []*member{majority}
	for i := range 6 {
		name := fmt.Sprintf("meanwhile %d", i)
		a, err := s.insist(random, func(node string) (daemontest.Answer, error) {
			return s.try(http.MethodPost, node+"/v1/images", s.source(name), daemontest.Header("Prefer", "respond-async"))
		})
		if err != nil || a.StatusCode/100 != 2 {
			t.Fatalf("%s: %v, %s", name, err, a.Status)
		}
		if a.StatusCode == http.StatusAccepted {
			jobs[strings.TrimPrefix(a.Header.Get("Location"), "/jobs/")] = name
		}
	}
	s.completes(jobs) // by the majority, those of the other node too
	restore()
	daemontest.Eventually(t, "the minority is ready again", func() bool { return s.ready(minority) == http.StatusOK })
	s.members = []*member{minority}
	s.completes(jobs)
	if over := s.proxy.Overwritten(); len(over) != 0 {
		t.Errorf("overwritten: %v", over)
	}
}

func TestFleetNodeWithoutTheStoreAndNATSComesBack(t *testing.T) {
	t.Parallel()
	s := newArena(t, 1)
	link := fleettest.NewLink(t, s.servers.Servers[0])
	node := s.join("fleet.servers=" + link.URL)
	awaitServing(t, node)
	jobs := s.submitAll(node, named("before-%d sleep:500ms", 3))
	link.Cut()
	s.proxy.Intercept(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	daemontest.Eventually(t, "it is not ready", func() bool { return s.ready(node) == http.StatusServiceUnavailable })
	a, err := s.try(http.MethodPost, node.serving()+"/v1/images", s.source("refused"))
	if err != nil || a.StatusCode != http.StatusServiceUnavailable || a.Code() != string(fault.Unavailable) {
		t.Errorf("an upload: %v, %s %s", err, a.Status, a.Body)
	}
	s.proxy.Intercept(nil)
	link.Restore()
	daemontest.Eventually(t, "it is ready again", func() bool { return s.ready(node) == http.StatusOK })
	s.completes(jobs)
}
