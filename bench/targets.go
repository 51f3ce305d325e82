package main

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// target is a promise and what became of it.
type target struct {
	What     string
	Least    bool // the limit is the least that will do, not the most
	Limit    float64
	Measured float64 // NaN if it was not measured
	Part     string
}

// Met says so, honestly.
func (t target) Met() string {
	switch {
	case math.IsNaN(t.Measured):
		return "not measured"
	case t.Least && t.Measured >= t.Limit, !t.Least && t.Measured <= t.Limit:
		return "yes"
	default:
		return "**no**"
	}
}

// Bound is the limit in words.
func (t target) Bound() string {
	if t.Least {
		return fmt.Sprintf("at least %s", figure(t.Limit))
	}
	return fmt.Sprintf("at most %s", figure(t.Limit))
}

// Figure is what was measured.
func (t target) Figure() string { return figure(t.Measured) }

// figure writes a number as the targets do. A ratio has three digits, so that
// one just beyond its limit does not look like it.
func figure(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.3f", x)
	}
}

// cpuTargets are the most that our CPU time may be of another contestant's.
var cpuTargets = []struct {
	photo string
	most  map[string]float64
}{
	{photo24MP, map[string]float64{floor: 1.02, sharp: 0.44, bimg: 0.55}},
	{photo12MP, map[string]float64{floor: 1.02, sharp: 0.42, bimg: 0.25}},
	{photo8MP, map[string]float64{floor: 1.02, sharp: 0.62, bimg: 0.68}},
	{photo2MP, map[string]float64{floor: 1.02, sharp: 0.70, bimg: 0.60}},
}

// byteTargets are the most that our bytes may be of another's at equal distance.
var byteTargets = []struct {
	format ladder.Format
	other  string
	most   float64
}{
	{ladder.WebP, sharp, 1},
	{ladder.JPEG, sharp, 0.88},
	{ladder.JPEG, floor, 0.88},
}

// profileTargets are the most that a profile may take of the default one's.
var profileTargets = []struct {
	profile    string
	cpu, bytes float64
}{
	{ladder.SmallBoardProfile, 0.70, 1.02},
	{ladder.SmallFilesProfile, 1.35, 0.90},
}

// megabytes are decimal, as the targets' are.
func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }

// targets holds the results against what was promised.
func targets(r results) (all []target) {
	most := func(part, what string, limit, measured float64) {
		all = append(all, target{What: what, Limit: limit, Measured: measured, Part: part})
	}
	for _, t := range cpuTargets {
		for _, other := range []string{floor, sharp, bimg} {
			most("ladder", fmt.Sprintf("%s: CPU, one thread, to %s", t.photo, other), t.most[other], r.cpuRatio(t.photo, other))
		}
	}
	for _, t := range cpuTargets {
		most("ladder", t.photo+": wall time of an upload to its one-thread CPU time", 0.6, r.wallToCPU(t.photo))
	}
	for _, t := range byteTargets {
		for _, m := range r.MetricNames() {
			most("quality", fmt.Sprintf("%s: bytes to %s's at equal %s", t.format, t.other, m), t.most, r.quality(t.format, t.other, m))
		}
	}
	most("memory", "24 MP: daemon and children at their peak, MB", 200, r.memory(func(m memoryResult) float64 { return megabytes(m.Peak[ours]) }))
	most("memory", "four such uploads at once, to one", 1.6, r.memory(func(m memoryResult) float64 { return float64(m.FourAtOnce) / float64(m.Peak[ours]) }))
	most("memory", "idle: the daemon, MB", 25, r.memory(func(m memoryResult) float64 { return megabytes(m.IdleDaemon) }))
	most("memory", "idle: a child, MB", 40, r.memory(func(m memoryResult) float64 { return megabytes(m.IdleChild) }))
	all = append(all, target{What: "a queue of uploads: share of all cores at work", Least: true, Limit: 0.95, Measured: r.busiest(), Part: "load"})
	most("serving", "CPU per GB to nginx", 1.5, r.servingCPU())
	cpu, bytes := r.effort()
	most("effort", "less effort (WebP 2, JPEG 0): CPU of the ladder to the usual", 0.5, cpu)
	most("effort", "less effort: bytes to the usual", 1.04, bytes)
	for _, t := range profileTargets {
		most("profiles", t.profile+": CPU to the default", t.cpu, r.profile(t.profile, func(p profileResult) float64 { return p.CPU.Median }))
		for _, m := range r.MetricNames() {
			most("profiles", fmt.Sprintf("%s: bytes loaded at 1280 and 2048 px at equal %s, to the default", t.profile, m), t.bytes,
				r.profile(t.profile, func(p profileResult) float64 { return p.Loaded[m] }))
		}
	}
	return all
}

// cpuRatio is ours to another contestant's.
func (r results) cpuRatio(photo, other string) float64 {
	for _, l := range r.Ladder {
		for _, c := range l.Contestants {
			if l.Photo == photo && c.Name == other {
				return c.Ratio.Median
			}
		}
	}
	return math.NaN()
}

func (r results) wallToCPU(photo string) float64 {
	for _, l := range r.Ladder {
		if l.Photo == photo {
			return l.WallToCPU.Median
		}
	}
	return math.NaN()
}

// metrics are the names of those that were measured with, or would be here.
func (r results) MetricNames() (names []string) {
	if len(r.Quality) > 0 {
		return slices.Sorted(maps.Keys(r.Quality[0].Ratio))
	}
	for _, m := range metrics() {
		names = append(names, m.name)
	}
	return names
}

func (r results) quality(format ladder.Format, other, metric string) float64 {
	for _, q := range r.Quality {
		if ratio, ok := q.Ratio[metric]; ok && q.Format == format && q.Contestant == other {
			return ratio.Mean
		}
	}
	return math.NaN()
}

func (r results) memory(of func(memoryResult) float64) float64 {
	if r.Memory == nil {
		return math.NaN()
	}
	return of(*r.Memory)
}

// busiest is the share of the cores with the most clients.
func (r results) busiest() float64 {
	if len(r.Load) == 0 {
		return math.NaN()
	}
	return r.Load[len(r.Load)-1].Busy
}

func (r results) servingCPU() float64 {
	if r.Serving == nil {
		return math.NaN()
	}
	return r.Serving.CPURatio.Median
}

// profile is the mean of the photos that have a figure.
func (r results) profile(name string, of func(profileResult) float64) float64 {
	var all []float64
	for _, p := range r.Profiles {
		if x := of(p); p.Profile == name && x > 0 {
			all = append(all, x)
		}
	}
	return geometric(all) // of nothing, NaN
}

// effort is the mean of the photos.
func (r results) effort() (cpu, bytes float64) {
	var cpus, sizes []float64
	for _, e := range r.Effort {
		cpus, sizes = append(cpus, e.CPU.Median), append(sizes, e.Bytes)
	}
	return geometric(cpus), geometric(sizes) // of nothing, NaN
}
