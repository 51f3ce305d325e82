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

func TestFleetTheMajorityOfServersGoesOn(t *testing.T) {
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

func TestFleetTheMinorityOfServersRefusesAndComesBack(t *testing.T) {
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
		t.Errorf("a file meanwhile: %v, %s", err, a.Status)
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
