//go:build fleet

package daemon_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/fleet/fleettest"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
)

// A node has a line in its log after each thing that it does for a job in NATS or in
// the store. At each of these lines one is killed, and another one, with nothing of
// its data, has to bring the job to the end that it would have had.

// fleetLife is all that is logged of a job of a fleet.
type fleetLife struct {
	name  string
	begin func(o *outside, node, image string) (daemontest.Answer, error)
	steps []string // the first lines with these messages, in any order that the parts have among each other
}

const recorded = "job recorded" // from this step on the job exists

var (
	fleetAccepted  = []string{"work claimed", recorded, "job accepted", inWork}
	fleetPublished = []string{staged, "variant stored", "manifest stored", "published", "job end recorded", "webhooks stored", "job ended", "source deleted", sent, "webhook delivered"}
	fleetLives     = []fleetLife{{
		name: "an upload",
		begin: func(o *outside, node, image string) (daemontest.Answer, error) {
			return o.try(http.MethodPost, node+"/v1/images?webhook_url="+url.QueryEscape(o.receiver.URL+"/"), o.source(image), daemontest.Header("Prefer", "respond-async"))
		},
		steps: slices.Concat([]string{"source received", "upload stored", "source stored"}, fleetAccepted, fleetPublished),
	}, {
		name: "a job by URL",
		begin: func(o *outside, node, image string) (daemontest.Answer, error) {
			return o.try(http.MethodPost, node+"/jobs", fmt.Appendf(nil, `{"input":"%s/%s","webhook_url":"%s/"}`, o.origin.URL, image, o.receiver.URL), daemontest.JSON)
		},
		steps: slices.Concat(fleetAccepted, []string{"source received", "source stored", "job resolved"}, fleetPublished),
	}}
)

func TestFleetJobWhoseNodeIsKilledAfterAnyStepEndsAsItShould(t *testing.T) {
	t.Parallel()
	servers, store := fleettest.Start(t, 1), s3test.Start(t)
	for _, l := range fleetLives {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			t.Run("undisturbed", func(t *testing.T) {
				t.Parallel()
				l.undisturbed(t, servers, store)
			})
			for i, message := range l.steps {
				t.Run(fmt.Sprintf("%d %s", i+1, message), func(t *testing.T) {
					t.Parallel()
					l.killedAfter(t, i, servers, store)
				})
			}
		})
	}
}

// own has a test be a fleet of its own on the same servers.
func own(t *testing.T) func(*config.Config) {
	return func(c *config.Config) {
		atHome(c)
		oneRung(c)
		c.Codec.Path = standin(t, "")
		c.Fleet.Name = strings.Map(func(r rune) rune {
			if strings.ContainsRune("/ ,.*>'#", r) {
				return '_'
			}
			return r
		}, strings.TrimPrefix(t.Name(), "TestFleetJobWhoseNodeIsKilledAfterAnyStepEndsAsItShould/"))
	}
}

func (l fleetLife) undisturbed(t *testing.T, servers *fleettest.Cluster, store *s3test.Server) {
	o := newOutside(t)
	s := daemontest.Start(t, inFleet("node", servers, store.URL), own(t))
	if _, err := l.begin(o, s.URL, s.Config.Fleet.Name); err != nil {
		t.Fatal(err)
	}
	daemontest.Eventually(t, "the webhook is delivered", func() bool { return s.Logged("webhook delivered") > 0 && s.Logged("source deleted") > 0 })
	s.Stop()
	var logged []string
	for _, e := range s.Logs.All() {
		switch {
		case e.Message == "ready to serve":
			logged = nil
		case slices.Contains([]string{"fleet", "jobs", "publish", "notify"}, e.LoggerName):
			logged = append(logged, e.Message)
		}
	}
	want := slices.Sorted(slices.Values(l.steps))
	slices.Sort(logged)
	if diff := cmp.Diff(want, slices.Compact(logged)); diff != "" {
		t.Errorf("the log differs from the table (-table +log):\n%s", diff)
	}
}

func (l fleetLife) killedAfter(t *testing.T, i int, servers *fleettest.Cluster, store *s3test.Server) {
	o := newOutside(t)
	node := func(name string) []func(*config.Config) {
		return []func(*config.Config){inFleet(name, servers, store.URL), own(t)}
	}
	c := daemontest.Prepare(t, append(node("mortal"), func(c *config.Config) { c.Storage.Dir = t.TempDir() })...).Config
	image := c.Fleet.Name
	mortal{Config: c, Message: l.steps[i], Nth: 1}.die(t, func(url string) error {
		_, err := l.begin(o, url, image)
		return err
	})

	heir := daemontest.Start(t, node("heir")...)
	records := func() []string { return servers.Subjects(t, "KV_optimizerd_"+c.Fleet.Name+"_jobs") }
	if i < slices.Index(l.steps, recorded) {
		if got := records(); len(got) > 0 {
			t.Errorf("the jobs %v exist, but no client has their ids", got)
		}
		if _, err := l.begin(o, heir.URL, image); err != nil {
			t.Fatal(err)
		}
	}
	jobs := records()
	if len(jobs) != 1 {
		t.Fatalf("the jobs are %v, want one", jobs)
	}
	id := jobs[0][strings.LastIndex(jobs[0], ".")+1:]
	j := heir.AwaitJob(id)
	if j.Status != "completed" {
		t.Fatalf("the job is %s: %v", j.Status, j.Error)
	}
	if err := setOnDisk(store, j.Output.Manifest.ID); err != nil {
		t.Error(err)
	}
	daemontest.Eventually(t, "the webhook comes", func() bool {
		times, _ := o.delivered("/", id)
		return times > 0
	})
	daemontest.Eventually(t, "nothing is left to do", func() bool {
		return len(servers.Subjects(t, "optimizerd_"+c.Fleet.Name+"_work")) == 0 && len(servers.Subjects(t, "optimizerd_"+c.Fleet.Name+"_tell")) == 0
	})
	if times, ids := o.delivered("/", id); ids != 1 || times > 2 || times == 2 && i < slices.Index(l.steps, "webhooks stored") {
		t.Errorf("the webhook was delivered %d times with %d ids", times, ids)
	}
	a, err := l.begin(o, heir.URL, image) // by its client, which was cut off
	if err != nil || a.StatusCode/100 != 2 {
		t.Errorf("the same request again: %v, %s", err, a.Status)
	}
}
