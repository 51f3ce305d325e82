package jobs

import "github.com/optimizerd/optimizerd/pkg/job"

// Lane is one of a queue's priority classes: small jobs need not wait for all earlier
// large ones.
type Lane int

// The lanes. Jobs in them name their source, except uploads, which have one.
const (
	LaneSingles Lane = iota
	LaneUploads
	LaneLadders
	LaneBackground // only while the others are empty

	NumLanes = iota // number of lanes
)

var laneNames = [NumLanes]string{LaneSingles: "singles", LaneUploads: "uploads", LaneLadders: "ladders", LaneBackground: "background"}

// String returns the lane's name.
func (l Lane) String() string { return laneNames[l] }

// LaneOf returns the lane of a job.
func LaneOf(j job.Job) Lane {
	switch {
	case j.Background:
		return LaneBackground
	case j.Recipe.Single():
		return LaneSingles
	case j.Input == "":
		return LaneUploads
	default:
		return LaneLadders
	}
}
