package fleet

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestSettingsThatCannotWork(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"fleet.replicas: must be 1, 3 or 5: with two": func(c *Config) { c.Replicas = 2 },
		"fleet.replicas: must be 1, 3 or 5 (":         func(c *Config) { c.Replicas = 4 },
		"fleet.lease":                                 func(c *Config) { c.Lease = time.Second },
		"fleet.name":                                  func(c *Config) { c.Name = "a.b" },
		"fleet.node":                                  func(c *Config) { c.Node = "a b" },
		"is another machine: use tls://":              func(c *Config) { c.Servers = []string{"nats://nas:4222"} },
		"fleet.servers[0]: must be tls://HOST":        func(c *Config) { c.Servers = []string{"nas"} },
		"use fleet.credentials_file":                  func(c *Config) { c.Servers = []string{"tls://me:secret@nas:4222"} },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	c := DefaultConfig()
	c.Servers = []string{"tls://nas:4222", "nats://127.0.0.1:4222", "nats://[::1]:4222", "nats://localhost:4222"}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestServersThatAreTooOld(t *testing.T) {
	for version, want := range map[string]bool{
		"2.12.0": true, "2.15.3": true, "3.0.0": true, "2.12.0-RC.1": true, "2.11.9": false, "2.9.10": false, "1.99.0": false, "": false, "two": false,
	} {
		if got := recent(version); got != want {
			t.Errorf("%q: got %v, want %v", version, got, want)
		}
	}
}

func TestLanesTakeTurnsByWeight(t *testing.T) {
	weights := map[string]int{"a": 4, "b": 1}
	var took turns
	count := map[string]int{}
	for range 50 {
		took.next(weights, func(lane string) bool { count[lane]++; return true })
	}
	if count["a"] != 40 || count["b"] != 10 {
		t.Errorf("got %v, want 40 and 10", count)
	}
	for range 100 { // an empty lane saves nothing
		took.next(weights, func(lane string) bool { return lane == "a" })
	}
	clear(count)
	for range 10 {
		took.next(weights, func(lane string) bool { count[lane]++; return true })
	}
	if count["b"] > 3 {
		t.Errorf("after a time without jobs lane b has %d of 10 turns", count["b"])
	}
	if took.next(weights, func(string) bool { return false }) {
		t.Error("a job of empty lanes")
	}
}

// Each worker that is woken sends a request for each of its lanes.
func TestJobWakesOnlyWorkersThatMayTakeIt(t *testing.T) {
	const instance = "of-this-process"
	for _, c := range []struct {
		lane, processes string
		want            [jobs.NumPhases]int
	}{
		{laneUploads, "", [jobs.NumPhases]int{jobs.Render: 1}},
		{laneSingles, "", [jobs.NumPhases]int{jobs.Resolve: 1}},
		{laneLadders, "", [jobs.NumPhases]int{jobs.Resolve: 1}},
		{laneBackground, "", [jobs.NumPhases]int{jobs.Resolve: 1}},
		{"", "", [jobs.NumPhases]int{1, 1, 1}}, // of an earlier version, or the housekeeping
		{"of-a-later-version", "", [jobs.NumPhases]int{1, 1, 1}},
		{"", "another " + instance, [jobs.NumPhases]int{1, 1, 1}},
		{"", "another", [jobs.NumPhases]int{}},
	} {
		q := &Queue{f: &Fleet{instance: instance}}
		for phase := range q.wake {
			q.wake[phase] = make(chan struct{}, 1)
		}
		msg := &nats.Msg{Data: []byte(c.processes)}
		if c.lane != "" {
			msg.Header = nats.Header{laneHeader: {c.lane}}
		}
		q.wokenBy(msg)
		var got [jobs.NumPhases]int
		for phase := range q.wake {
			got[phase] = len(q.wake[phase])
		}
		if got != c.want {
			t.Errorf("lane %q, processes %q: got %v, want %v", c.lane, c.processes, got, c.want)
		}
	}
}

func newRecord(t testing.TB) record {
	t.Helper()
	j := job.New(job.Job{Source: job.Source{SHA256: strings.Repeat("ab", 32), Bytes: 3}, Recipe: ladder.DefaultConfig().Recipe(), ImageID: strings.Repeat("k3", 13)}, time.Now())
	return record{Level: level, Node: "pi-1", Starts: 1, job: j}
}

func TestRecordsOfOtherVersions(t *testing.T) {
	r := newRecord(t)
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRecord(r.job.ID, b)
	if err != nil || got.Starts != 1 || got.job.ID != r.job.ID {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := decodeRecord("job_other", b); err == nil {
		t.Error("a record is accepted for another job's id")
	}
	newer := strings.Replace(string(b), `"level":1`, `"level":2,"unheard_of":true`, 1)
	if got, err := decodeRecord(r.job.ID, []byte(newer)); err != nil || got.Level != 2 {
		t.Errorf("a newer record: %+v, %v", got, err)
	}
	added := strings.Replace(strings.Replace(string(b), `"level":1`, `"level":1,"unheard_of":true`, 1), `"job":{`, `"job":{"unheard_of":{"a":1},`, 1)
	if got, err := decodeRecord(r.job.ID, []byte(added)); err != nil || got.job.ID != r.job.ID {
		t.Errorf("a record of this level with fields of a newer version: %+v, %v", got, err)
	}
}

// While the servers do not answer, requests that wait for the count of jobs would wait
// for one attempt after another.
func TestCountThatCannotBeReadIsNotReadByEachThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away, reads := errors.New("away"), 0
		var c messageCount
		get := func() (int, error) {
			return c.get(func() (int, error) {
				if reads++; reads == 1 {
					time.Sleep(operationTime)
					return 0, away
				}
				return 3, nil
			})
		}
		for range 10 {
			if _, err := get(); !errors.Is(err, away) {
				t.Fatalf("got %v", err)
			}
		}
		time.Sleep(time.Second)
		if n, err := get(); n != 3 || err != nil || reads != 2 {
			t.Errorf("got %d, %v after %d reads", n, err, reads)
		}
	})
}
