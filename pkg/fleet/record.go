package fleet

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/jobs"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// level is the version of the format of records. A node does not touch records of a
// higher level than its own. A field that older nodes may ignore, and drop when they
// write the record, needs no new level.
const level = 1

// maxStarts is how often a job may start without an end. A start that a process
// recorded without learning of its success does not count twice: the process is
// alive, so the job did not kill it.
const maxStarts = 3

// record is the fleet's record of a job.
type record struct {
	Level   int             `json:"level"`
	Node    string          `json:"node,omitempty"`    // that last started it
	Process string          `json:"process,omitempty"` // that last started it
	Holder  string          `json:"holder,omitempty"`  // process that executes it without having its message
	Starts  int             `json:"starts"`            // without an end
	Passed  *passed         `json:"passed,omitempty"`  // nodes that cannot execute it
	Claim   uint64          `json:"claim,omitempty"`   // revision of its claim; 0 if that is not known
	Job     json.RawMessage `json:"job"`

	job      job.Job
	revision uint64 // at which it is stored; 0 unless this process stored it
}

func (r record) encode() ([]byte, error) {
	b, err := r.job.Encode()
	if err != nil {
		return nil, err
	}
	r.Job = b
	return json.Marshal(r)
}

// decodeRecord parses a record. Of one of a higher level than ours, only the level
// is set.
func decodeRecord(id string, data []byte) (r record, err error) {
	var head struct {
		Level int `json:"level"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return r, fmt.Errorf("decode record of %s: %w", id, err)
	}
	if head.Level > level {
		return record{Level: head.Level}, nil
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("decode record of %s: %w", id, err)
	}
	if r.job, err = job.DecodeShared(r.Job); err != nil {
		return r, err
	}
	if r.job.ID != id {
		return r, fmt.Errorf("decode record of %s: it is the record of %s", id, r.job.ID)
	}
	if err := checkJob(r.job); err != nil {
		return r, fmt.Errorf("decode record of %s: %w", id, err)
	}
	return r, nil
}

// checkJob validates a record: other nodes write it, and its digest and id become
// file names.
func checkJob(j job.Job) error {
	_, known := job.ParseStatus(string(j.Status))
	switch {
	case !known:
		return fmt.Errorf("invalid status %.20q", j.Status)
	case j.Resolved() && (!manifest.ValidSHA256(j.Source.SHA256) || !ladder.ValidID(j.ImageID) || j.Source.Bytes < 0):
		return errors.New("its source is invalid")
	case !j.Resolved() && j.ImageID != "":
		return errors.New("it has an image without a source")
	case len(j.Webhooks) > job.MaxWebhooks:
		return fmt.Errorf("%d webhooks", len(j.Webhooks))
	case j.Attempts < 0 || j.Retries < 0:
		return errors.New("its attempts are negative")
	default:
		return nil
	}
}

// lane returns the name of a job's lane: its part of the subject, and the consumer.
func lane(j job.Job) string { return jobs.LaneOf(j).String() }

// The lane names.
var (
	laneSingles    = jobs.LaneSingles.String()
	laneUploads    = jobs.LaneUploads.String()
	laneLadders    = jobs.LaneLadders.String()
	laneBackground = jobs.LaneBackground.String()

	lanes = []string{laneSingles, laneUploads, laneLadders, laneBackground}
)
