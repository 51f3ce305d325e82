package doctor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/doctor"
	"github.com/optimizerd/optimizerd/pkg/fleet"
)

// inFleet are the facts of a node of a fleet on which all is well.
func inFleet() doctor.Facts {
	f := healthy()
	f.Configuration.Settings.Fleet, f.Configuration.Settings.FleetStore = new(fleet.Options), "https://r2/images"
	seen := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	node := func(name string) fleet.Node {
		return fleet.Node{Name: name, Version: "1.2.3", Work: true, Said: seen, Seen: seen, Abilities: &fleet.Abilities{Store: "https://r2/images", Recipe: "ab", Libvips: "8.16.1"}}
	}
	f.Fleet = doctor.Fleet{
		Servers: []fleet.Server{{URL: "tls://nas:4222", Version: "2.15.3", Recent: true}, {URL: "tls://pi-1:4222", Version: "2.15.3", Recent: true}},
		Report: &fleet.Report{
			Nodes:   []fleet.Node{node("pi-1"), node("pi-2")},
			Streams: []fleet.Stream{{Name: "jobs", Leader: "nas", Wanted: 3, Replicas: []fleet.Replica{{Server: "pi-1", Current: true}, {Server: "pi-2", Current: true}}}},
		},
	}
	return f
}

func TestDoctorExaminesAFleet(t *testing.T) {
	if r := doctor.Examine(inFleet()); r.Status != doctor.OK {
		t.Errorf("a healthy fleet is %s: %+v", r.Status, r.Findings)
	}
	for want, c := range map[string]struct {
		status doctor.Status
		change func(*doctor.Facts)
	}{
		"its certificate": {doctor.Warn, func(f *doctor.Facts) {
			f.Fleet.Servers[1].Problem = "x509: its certificate is not signed by fleet.ca_file"
		}},
		"is too old": {doctor.Fail, func(f *doctor.Facts) {
			f.Fleet.Servers, f.Fleet.Report = []fleet.Server{{URL: "x", Problem: "nats-server 2.9.10 is too old"}}, nil
		}},
		"jobs has 2 of 3":       {doctor.Warn, func(f *doctor.Facts) { f.Fleet.Report.Streams[0].Replicas[1].Offline = true }},
		"jobs has no leader":    {doctor.Fail, func(f *doctor.Facts) { f.Fleet.Report.Streams[0].Leader = "" }},
		"this machine by -1m0s": {doctor.Warn, func(f *doctor.Facts) { f.Fleet.Report.Clock = -time.Minute }},
		"node pi-2 by 10s": {doctor.Warn, func(f *doctor.Facts) {
			f.Fleet.Report.Nodes[1].Said = f.Fleet.Report.Nodes[1].Seen.Add(10 * time.Second)
		}},
		"pi-2 stores images in https://s3": {doctor.Fail, func(f *doctor.Facts) { f.Fleet.Report.Nodes[1].Abilities.Store = "https://s3/images" }},
		"their ladders differ":             {doctor.Warn, func(f *doctor.Facts) { f.Fleet.Report.Nodes[1].Abilities.Recipe = "cd" }},
		"none accepting jobs":              {doctor.Warn, func(f *doctor.Facts) { f.Fleet.Report.Nodes[0].Work, f.Fleet.Report.Nodes[1].Draining = false, true }},
		"fleet-wide settings differ: pi-1: queue.max_pending 1; pi-2: queue.max_pending 2": {doctor.Warn, func(f *doctor.Facts) {
			f.Fleet.Report.Nodes[0].Abilities.Shared, f.Fleet.Report.Nodes[1].Abilities.Shared = "queue.max_pending 1", "queue.max_pending 2"
		}},
		"versions differ": {doctor.OK, func(f *doctor.Facts) { f.Fleet.Report.Nodes[1].Version = "1.2.4" }},
	} {
		f := inFleet()
		c.change(&f)
		r := doctor.Examine(f)
		found := false
		for _, finding := range r.Findings {
			found = found || finding.Status == c.status && strings.Contains(finding.Found, want)
		}
		if !found || r.Status != c.status {
			t.Errorf("%q as %s is not among %+v", want, c.status, r.Findings)
		}
	}
}
