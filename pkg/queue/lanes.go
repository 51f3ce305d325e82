package queue

import (
	"slices"
	"time"

	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// The weights of the lanes while all of them have waiting jobs: a single variant is
// little work, and a client waits for it and for an upload, while ladders by URL
// arrive in batches. No lane starves, and the share of empty lanes goes to the
// others; but background jobs wait until no other job is ready.
var weights = [jobs.NumLanes]int{jobs.LaneSingles: 4, jobs.LaneUploads: 2, jobs.LaneLadders: 1, jobs.LaneBackground: 0}

// laneNames are the display names of the lanes.
var laneNames = [jobs.NumLanes]string{
	jobs.LaneSingles: "single variants", jobs.LaneUploads: "uploads", jobs.LaneLadders: "ladders by URL", jobs.LaneBackground: "in the background",
}

// Lanes returns the number of waiting jobs in each lane, by its name.
func (q *Queue) Lanes() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := make(map[string]int)
	for i, name := range laneNames {
		for _, line := range q.lanes[i].lines {
			waiting[name] += len(line)
		}
	}
	return waiting
}

// aheadOfRender limits how many jobs of a lane may be resolved before a worker
// renders them: their sources occupy disk space.
const aheadOfRender = 16

// lane holds the waiting jobs of each phase. Queue.mu protects it.
type lane struct {
	lines     [jobs.NumPhases][]*entry
	credit    [jobs.NumPhases]int
	resolving int // leased for jobs.Resolve
}

func (e *entry) lane() jobs.Lane { return jobs.LaneOf(e.job) }

// phase returns what a job waits for.
func (q *Queue) phase(e *entry) jobs.Phase {
	switch {
	case !e.job.Resolved():
		return jobs.Resolve
	case e.job.Background && q.config.Dedicated:
		return jobs.Background
	default:
		return jobs.Render
	}
}

// push appends a job to its lane.
func (q *Queue) push(e *entry) {
	line := &q.lanes[e.lane()].lines[q.phase(e)]
	*line = append(*line, e)
	e.waitingSince = time.Now()
	q.waiting++
	q.signal(q.phase(e))
}

// pushFront inserts a job at the front of its lane.
func (q *Queue) pushFront(e *entry) {
	line := &q.lanes[e.lane()].lines[q.phase(e)]
	*line = slices.Insert(*line, 0, e)
	e.waitingSince = time.Now()
	q.waiting++
	q.signal(q.phase(e))
}

// remove removes a waiting job from its lane, and reports whether it was there.
func (q *Queue) remove(e *entry) bool {
	line := &q.lanes[e.lane()].lines[q.phase(e)]
	i := slices.Index(*line, e)
	if i < 0 {
		return false
	}
	*line = slices.Delete(*line, i, i+1)
	q.waiting--
	q.signalBackground()
	q.signal(jobs.Resolve) // there may be room for another source
	return true
}

// raise moves a job out of the background.
func (q *Queue) raise(e *entry) {
	since, waits := e.waitingSince, q.remove(e)
	e.job.Background = false
	if waits {
		q.push(e)
		e.waitingSince = since
	}
}

// pop removes and returns the next job of a phase, or nil if none is ready.
// Lanes are selected by smooth weighted round robin: each ready lane gains its
// weight in credit, and the one with the most credit pays the sum.
func (q *Queue) pop(phase jobs.Phase) *entry {
	if phase == jobs.Background && !q.nothingToRender() {
		return nil
	}
	next, at, sum := jobs.Lane(-1), 0, 0
	for i := range jobs.Lane(jobs.NumLanes) {
		place := q.ready(i, phase)
		if place < 0 || i == jobs.LaneBackground && next >= 0 {
			continue
		}
		q.lanes[i].credit[phase] += weights[i]
		sum += weights[i]
		if next < 0 || q.lanes[i].credit[phase] > q.lanes[next].credit[phase] {
			next, at = i, place
		}
	}
	if next < 0 {
		return nil
	}
	l := &q.lanes[next]
	l.credit[phase] -= sum
	e := l.lines[phase][at]
	if at == 0 {
		l.lines[phase][0] = nil
		l.lines[phase] = l.lines[phase][1:]
	} else {
		l.lines[phase] = slices.Delete(l.lines[phase], at, at+1)
	}
	q.waiting--
	q.signalBackground()
	return e
}

// nothingToRender reports whether no job waits for phase Render.
func (q *Queue) nothingToRender() bool {
	return !slices.ContainsFunc(q.lanes[:], func(l lane) bool { return len(l.lines[jobs.Render]) > 0 })
}

// signalBackground wakes a worker of phase Background if it may have a job now.
func (q *Queue) signalBackground() {
	if q.nothingToRender() {
		q.signal(jobs.Background)
	}
}

// ready returns the index of the first job in the lane that may start, or -1.
func (q *Queue) ready(which jobs.Lane, phase jobs.Phase) int {
	l := &q.lanes[which]
	if phase != jobs.Resolve {
		return min(len(l.lines[phase]), 1) - 1
	}
	if l.resolving+len(l.lines[jobs.Render])+len(l.lines[jobs.Background]) >= aheadOfRender || which != jobs.LaneSingles && l.resolving >= q.config.maxShare() {
		return -1
	}
	return slices.IndexFunc(l.lines[jobs.Resolve], func(e *entry) bool {
		return e.host == "" || q.hosts[e.host] < q.config.maxShare()
	})
}

// signal wakes one Lease of a phase; each one that gets a job passes the
// signal on.
func (q *Queue) signal(phase jobs.Phase) {
	select {
	case q.wake[phase] <- struct{}{}:
	default:
	}
}
