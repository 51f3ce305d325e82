package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fleet"
)

// Fleet describes the fleet of this machine.
type Fleet struct {
	Servers []fleet.Server
	Report  *fleet.Report // nil if there is none
	Problem error         // why there is no report
}

// fleetTimeout limits the queries to a fleet.
const fleetTimeout = 30 * time.Second

func probeFleet(ctx context.Context, o fleet.Options) (found Fleet) {
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	found.Servers = o.ProbeServers(ctx)
	o.Log = zap.NewNop()
	f, err := fleet.Attach(ctx, o)
	if err != nil {
		found.Problem = err
		return found
	}
	defer func() { _ = f.Close() }() // it was only read
	r, err := f.Report(ctx, false)
	if err != nil {
		found.Problem = err
		return found
	}
	found.Report = &r
	return found
}

// checkFleet checks a fleet, if this machine is in one.
func checkFleet(f Facts) []Finding {
	if f.settings() == nil || f.settings().Fleet == nil {
		return nil
	}
	findings := []Finding{checkFleetServers(f.Fleet.Servers)}
	r := f.Fleet.Report
	if r == nil {
		if usable(f.Fleet.Servers) == 0 || f.Fleet.Problem == nil {
			return findings // the servers say why
		}
		return append(findings, Finding{"fleet", Warn, f.Fleet.Problem.Error(), "If no node has ever been started, start one; otherwise see its log: journalctl -u optimizerd."})
	}
	return append(findings, checkFleetCopies(*r), checkFleetClocks(*r), checkFleetNodes(*r, f.settings().FleetStore))
}

func usable(servers []fleet.Server) (n int) {
	for _, s := range servers {
		if s.Problem == "" {
			n++
		}
	}
	return n
}

func checkFleetServers(servers []fleet.Server) Finding {
	const check = "fleet servers"
	var versions, problems []string
	for _, s := range servers {
		switch {
		case s.Problem != "":
			problems = append(problems, s.URL+": "+s.Problem)
		case !slices.Contains(versions, s.Version):
			versions = append(versions, s.Version)
		}
	}
	switch n := usable(servers); {
	case n == 0:
		return Finding{check, Fail, strings.Join(problems, "; "), "The daemon needs one of fleet.servers; see docs/fleet.md for their setup."}
	case len(problems) > 0:
		return Finding{check, Warn, strings.Join(problems, "; "), fmt.Sprintf("The other servers work (%d of %d); repair this one before another fails.", n, len(servers))}
	default:
		return Finding{check, OK, fmt.Sprintf("%d of %d answer, nats-server %s", n, len(servers), strings.Join(versions, ", ")), ""}
	}
}

func checkFleetCopies(r fleet.Report) Finding {
	const check = "fleet copies"
	var behind []string
	for _, s := range r.Streams {
		if s.Leader == "" {
			return Finding{check, Fail, s.Name + " has no leader: nothing is accepted", "More than half of the NATS servers must run: start those that are down."}
		}
		if s.Healthy() < s.Wanted {
			behind = append(behind, fmt.Sprintf("%s has %d of %d", s.Name, s.Healthy(), s.Wanted))
		}
	}
	if len(behind) > 0 {
		return Finding{check, Warn, "complete copies: " + strings.Join(behind, ", "), "Start the NATS server that is down, or wait until it has caught up; optimizerd fleet status names it."}
	}
	wanted := r.Streams[0].Wanted
	if wanted == 1 {
		return Finding{check, OK, "one copy of everything in NATS", "One disk failure loses everything; set fleet.replicas to 3 once there are three servers."}
	}
	return Finding{check, OK, fmt.Sprintf("%d complete copies of everything in NATS", wanted), ""}
}

// maxClockDifference is the difference that signed URLs and the order of listings
// tolerate.
const maxClockDifference = 5 * time.Second

func checkFleetClocks(r fleet.Report) Finding {
	const check = "fleet clocks"
	var off []string
	note := func(who string, difference time.Duration) {
		if difference.Abs() > maxClockDifference {
			off = append(off, fmt.Sprintf("%s by %v", who, difference.Round(time.Second)))
		}
	}
	note("this machine", r.Clock)
	for _, n := range r.Nodes {
		note("node "+n.Name, n.Said.Sub(n.Seen))
	}
	if len(off) > 0 {
		return Finding{check, Warn, "differ from the NATS servers' clock: " + strings.Join(off, ", "), "Enable network time on all machines: timedatectl set-ntp true. Signed URLs and the order of listings depend on it."}
	}
	return Finding{check, OK, fmt.Sprintf("all within %v", maxClockDifference), ""}
}

func checkFleetNodes(r fleet.Report, store string) Finding {
	const check = "fleet nodes"
	by := map[string]map[string][]string{"version": {}, "ladder": {}, "libvips": {}, "settings": {}} // what differs, its values, the nodes
	working := 0
	var names []string
	for _, n := range r.Nodes {
		names = append(names, n.Name)
		if n.Work && !n.Draining {
			working++
		}
		by["version"][n.Version] = append(by["version"][n.Version], n.Name)
		if n.Abilities == nil {
			continue
		}
		if n.Abilities.Store != store {
			return Finding{check, Fail, fmt.Sprintf("node %s stores images in %s, this machine in %s", n.Name, n.Abilities.Store, store), "All nodes must have the same storage.s3.endpoint and storage.s3.bucket."}
		}
		by["ladder"][n.Abilities.Recipe] = append(by["ladder"][n.Abilities.Recipe], n.Name)
		by["libvips"][n.Abilities.Libvips] = append(by["libvips"][n.Abilities.Libvips], n.Name)
		if shared := n.Abilities.Shared; shared != "" { // absent from earlier versions
			by["settings"][shared] = append(by["settings"][shared], n.Name)
		}
	}
	if working == 0 {
		return Finding{check, Warn, fmt.Sprintf("%d, none accepting jobs", len(names)), "Start a node with fleet.work, or end a drain with: optimizerd fleet drain --end."}
	}
	found := fmt.Sprintf("%d: %s", len(names), strings.Join(names, ", "))
	if len(by["ladder"]) > 1 {
		return Finding{check, Warn, found + "; their ladders differ, so one upload has different ids on different nodes", "Expected while a new ladder is rolled out; otherwise set the same ladder on all nodes."}
	}
	if len(by["settings"]) > 1 {
		var each []string
		for settings, nodes := range by["settings"] {
			each = append(each, strings.Join(nodes, ", ")+": "+settings)
		}
		slices.Sort(each)
		return Finding{check, Warn, found + "; fleet-wide settings differ: " + strings.Join(each, "; "), "Set queue.max_pending, jobs.keep and retention to the same values on all nodes, and restart them."}
	}
	if len(by["version"]) > 1 || len(by["libvips"]) > 1 {
		return Finding{check, OK, found + "; versions differ", "Fine during an upgrade: upgrade one node at a time."}
	}
	return Finding{check, OK, found, ""}
}
