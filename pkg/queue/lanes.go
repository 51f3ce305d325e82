package queue

import (
	"slices"
	"time"
)

// Stage is what a job waits for.
type Stage int

// The stages.
const (
	Resolve Stage = iota // its picture has to be found: over the network, or among the originals
	Render               // its picture is in the spool

	numStages
)

// The lanes, and how often each gets its turn while all of them wait: a single
// variant that somebody looks for is little work, behind an upload somebody
// waits, and ladders by URL come in batches. No lane starves, and none takes
// the turns of another that is empty.
const (
	singles = iota
	uploads
	ladders

	numLanes
)

var weights = [numLanes]int{singles: 4, uploads: 2, ladders: 1}

// aheadOfRender is how many jobs of a lane may be resolved before there is a
// worker to render them: their pictures take space on the disk.
const aheadOfRender = 16

// lane is a line of jobs for each stage. Queue.mu is held for all of it.
type lane struct {
	lines     [numStages][]*entry
	credit    [numStages]int
	resolving int // leased for Resolve
}

func (e *entry) lane() int {
	switch {
	case e.job.Recipe.Single():
		return singles
	case e.job.Input == "":
		return uploads
	default:
		return ladders
	}
}

func (e *entry) stage() Stage {
	if e.job.Resolved() {
		return Render
	}
	return Resolve
}

// push lets a job wait behind the others of its lane.
func (q *Queue) push(e *entry) {
	line := &q.lanes[e.lane()].lines[e.stage()]
	*line = append(*line, e)
	e.waitingSince = time.Now()
	q.waiting++
	q.signal(e.stage())
}

// pushFront lets a job wait before all others of its lane.
func (q *Queue) pushFront(e *entry) {
	line := &q.lanes[e.lane()].lines[e.stage()]
	*line = slices.Insert(*line, 0, e)
	e.waitingSince = time.Now()
	q.waiting++
	q.signal(e.stage())
}

// pop takes out the next job of a stage, nil if none can go on. The lanes take
// turns by smooth weighted round robin: each that could go gains its weight,
// and the one with the most pays for all.
func (q *Queue) pop(stage Stage) *entry {
	next, at, sum := -1, 0, 0
	for i := range q.lanes {
		place := q.ready(i, stage)
		if place < 0 {
			continue
		}
		q.lanes[i].credit[stage] += weights[i]
		sum += weights[i]
		if next < 0 || q.lanes[i].credit[stage] > q.lanes[next].credit[stage] {
			next, at = i, place
		}
	}
	if next < 0 {
		return nil
	}
	l := &q.lanes[next]
	l.credit[stage] -= sum
	e := l.lines[stage][at]
	if at == 0 {
		l.lines[stage][0] = nil
		l.lines[stage] = l.lines[stage][1:]
	} else {
		l.lines[stage] = slices.Delete(l.lines[stage], at, at+1)
	}
	q.waiting--
	return e
}

// ready is the place in the line of the first job that can go on, -1 if none
// can.
func (q *Queue) ready(which int, stage Stage) int {
	l := &q.lanes[which]
	if stage == Render {
		return min(len(l.lines[Render]), 1) - 1
	}
	if l.resolving+len(l.lines[Render]) >= aheadOfRender || which != singles && l.resolving >= q.config.maxShare() {
		return -1
	}
	return slices.IndexFunc(l.lines[Resolve], func(e *entry) bool {
		return e.host == "" || q.hosts[e.host] < q.config.maxShare()
	})
}

// signal wakes one Lease of a stage; each that takes a job passes it on.
func (q *Queue) signal(stage Stage) {
	select {
	case q.wake[stage] <- struct{}{}:
	default:
	}
}
