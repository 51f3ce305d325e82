package queue

import (
	"slices"
	"time"

	"github.com/optimizerd/optimizerd/pkg/jobs"
)

// The lanes and their weights while all of them have waiting jobs: a single
// variant is little work, and a client waits for it and for an upload, while
// ladders by URL come in batches. No lane starves, and empty lanes lose nothing
// to the others.
const (
	singles = iota
	uploads
	ladders

	numLanes
)

var weights = [numLanes]int{singles: 4, uploads: 2, ladders: 1}

// aheadOfRender limits how many jobs of a lane may be resolved before a worker
// renders them: their sources occupy disk space.
const aheadOfRender = 16

// lane holds the waiting jobs of each stage. Queue.mu protects it.
type lane struct {
	lines     [jobs.NumStages][]*entry
	credit    [jobs.NumStages]int
	resolving int // leased for jobs.Resolve
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

func (e *entry) stage() jobs.Stage {
	if e.job.Resolved() {
		return jobs.Render
	}
	return jobs.Resolve
}

// push appends a job to its lane.
func (q *Queue) push(e *entry) {
	line := &q.lanes[e.lane()].lines[e.stage()]
	*line = append(*line, e)
	e.waitingSince = time.Now()
	q.waiting++
	q.signal(e.stage())
}

// pushFront inserts a job at the front of its lane.
func (q *Queue) pushFront(e *entry) {
	line := &q.lanes[e.lane()].lines[e.stage()]
	*line = slices.Insert(*line, 0, e)
	e.waitingSince = time.Now()
	q.waiting++
	q.signal(e.stage())
}

// pop removes and returns the next job of a stage, or nil if none is ready.
// Lanes are selected by smooth weighted round robin: each ready lane gains its
// weight, and the one with the most credit pays the sum.
func (q *Queue) pop(stage jobs.Stage) *entry {
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

// ready returns the index of the first job in the lane that may start, or -1.
func (q *Queue) ready(which int, stage jobs.Stage) int {
	l := &q.lanes[which]
	if stage == jobs.Render {
		return min(len(l.lines[jobs.Render]), 1) - 1
	}
	if l.resolving+len(l.lines[jobs.Render]) >= aheadOfRender || which != singles && l.resolving >= q.config.maxShare() {
		return -1
	}
	return slices.IndexFunc(l.lines[jobs.Resolve], func(e *entry) bool {
		return e.host == "" || q.hosts[e.host] < q.config.maxShare()
	})
}

// signal wakes one Lease of a stage; each that takes a job passes the signal
// on.
func (q *Queue) signal(stage jobs.Stage) {
	select {
	case q.wake[stage] <- struct{}{}:
	default:
	}
}
