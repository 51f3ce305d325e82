// Package status describes what a daemon is doing, for the status page and the
// status command. Package daemon fills it in.
package status

import (
	"slices"
	"sync"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Path is the admin listener's route of the report, as JSON.
const Path = "/status.json"

// Report is the state of a daemon.
type Report struct {
	Version   string          `json:"version"`
	StartedAt strictjson.Time `json:"started_at"`
	At        strictjson.Time `json:"at"`
	Stopping  bool            `json:"stopping"`
	Images    int             `json:"images"`

	Parts   map[string]Part `json:"parts"` // those of /readyz
	Waiting map[string]int  `json:"waiting"`
	Running []Running       `json:"running"`
	Codec   Codec           `json:"codec"`
	Disk    Disk            `json:"disk"`
	Board   string          `json:"board,omitempty"` // temperature and throttling; "" if unknown
	Hot     bool            `json:"hot"`             // rendering is throttled
	Outbox  Outbox          `json:"webhooks"`

	Today   Count    `json:"today"`   // since midnight, local time, or since the start
	Minutes []Minute `json:"minutes"` // of the last hour, oldest first
	Jobs    []Ended  `json:"jobs"`    // the last ones that ended, newest first
	Errors  []Error  `json:"errors"`  // the last ones, newest first
}

// Part is a part of the daemon: ready, not_ready or off.
type Part struct {
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Running is a job in progress.
type Running struct {
	JobID    string          `json:"job_id"`
	Phase    string          `json:"phase"` // fetch or render
	Filename string          `json:"filename,omitempty"`
	Input    string          `json:"input,omitempty"`
	Bytes    int64           `json:"bytes,omitempty"`
	Since    strictjson.Time `json:"since"`
}

// Codec is the codec processes.
type Codec struct {
	Processes int       `json:"processes"` // at most, at once
	Started   int64     `json:"started"`
	Crashed   int64     `json:"crashed"`
	Libvips   string    `json:"libvips"`
	Running   []Process `json:"running"` // oldest first
}

// Process is a codec process that runs, with the job in progress in it.
type Process struct {
	PID        int             `json:"pid"`
	Background bool            `json:"background"` // of low priority, for background jobs
	Busy       bool            `json:"busy"`
	JobID      string          `json:"job_id,omitempty"`
	ImageID    string          `json:"image_id,omitempty"`
	Filename   string          `json:"filename,omitempty"`
	Input      string          `json:"input,omitempty"`
	Since      strictjson.Time `json:"since"`            // start of the image, or of the idle time after the last one
	Images     int             `json:"images"`           // done by this process
	Memory     int64           `json:"memory,omitempty"` // resident, bytes
}

// Disk is the file system of the data folder, in bytes.
type Disk struct {
	Free     int64 `json:"free"`
	Total    int64 `json:"total"`
	Reserved int64 `json:"reserved"`            // must stay free
	Sets     int64 `json:"sets,omitempty"`      // with their originals; known only with retention.max_bytes
	MaxBytes int64 `json:"max_bytes,omitempty"` // retention.max_bytes
}

// Outbox counts webhooks since the start, except those that wait.
type Outbox struct {
	Waiting   int `json:"waiting"`
	Delivered int `json:"delivered"`
	GivenUp   int `json:"given_up"`
}

// Count counts jobs.
type Count struct {
	Completed int   `json:"completed"`
	Failed    int   `json:"failed"`
	BytesIn   int64 `json:"bytes_in"` // of completed jobs
}

// Minute is what happened in one minute.
type Minute struct {
	At        strictjson.Time `json:"at"`
	Completed int             `json:"completed"`
	Failed    int             `json:"failed"`
	Median    float64         `json:"median"` // seconds from accepting a job to its end
	Longest   float64         `json:"longest"`
}

// Ended is a job that has ended.
type Ended struct {
	JobID    string          `json:"job_id"`
	ImageID  string          `json:"image_id,omitempty"`
	Filename string          `json:"filename,omitempty"`
	Input    string          `json:"input,omitempty"`
	Bytes    int64           `json:"bytes,omitempty"`
	Code     fault.Code      `json:"code,omitempty"` // of a failure
	Message  string          `json:"message,omitempty"`
	At       strictjson.Time `json:"at"`
	Seconds  float64         `json:"seconds"` // from accepting it to its end
}

// Error is an error of the daemon itself, as in its log.
type Error struct {
	At      strictjson.Time `json:"at"`
	Message string          `json:"message"`
}

const (
	keepJobs    = 50
	keepErrors  = 10
	keepMinutes = 60
	maxLatency  = 1000 // latencies kept of a minute
)

// Recent records recent events. It is safe for concurrent use.
type Recent struct {
	Now func() time.Time

	mu      sync.Mutex
	jobs    []Ended // oldest first
	errors  []Error
	minutes []minute
	day     time.Time
	today   Count
}

type minute struct {
	Minute
	latencies []float64
}

// NewRecent returns an empty record.
func NewRecent() *Recent { return &Recent{Now: time.Now} }

// Ended adds a job that has ended.
func (r *Recent) Ended(j job.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	e := Ended{
		JobID: j.ID, ImageID: j.ImageID, Filename: j.Source.Filename, Input: j.Input, Bytes: j.Source.Bytes,
		At: *j.FinishedAt, Seconds: j.FinishedAt.Sub(j.CreatedAt.Time).Seconds(),
	}
	r.roll(now)
	m := &r.minutes[len(r.minutes)-1]
	if j.Error != nil {
		e.Code, e.Message = j.Error.Code, j.Error.Message
		m.Failed++
		r.today.Failed++
	} else {
		m.Completed++
		r.today.Completed++
		r.today.BytesIn += j.Source.Bytes
	}
	if len(m.latencies) < maxLatency {
		m.latencies = append(m.latencies, e.Seconds)
	}
	r.jobs = last(append(r.jobs, e), keepJobs)
}

// Error adds an error.
func (r *Recent) Error(at time.Time, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = last(append(r.errors, Error{strictjson.At(at), message}), keepErrors)
}

// Fill sets the parts of a report that are about the past.
func (r *Recent) Fill(report *Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	r.roll(now)
	report.Today = r.today
	report.Jobs, report.Errors = slices.Clone(r.jobs), slices.Clone(r.errors)
	slices.Reverse(report.Jobs)
	slices.Reverse(report.Errors)
	if report.Jobs == nil {
		report.Jobs = []Ended{}
	}
	if report.Errors == nil {
		report.Errors = []Error{}
	}
	for _, m := range r.minutes {
		if len(m.latencies) > 0 {
			sorted := slices.Sorted(slices.Values(m.latencies))
			m.Median, m.Longest = sorted[len(sorted)/2], sorted[len(sorted)-1]
		}
		report.Minutes = append(report.Minutes, m.Minute)
	}
}

// roll begins the minute and the day of now. Minutes without a job have an entry
// too, so that a curve shows them.
func (r *Recent) roll(now time.Time) {
	if y, m, d := now.Date(); !r.day.Equal(time.Date(y, m, d, 0, 0, 0, 0, now.Location())) {
		r.day, r.today = time.Date(y, m, d, 0, 0, 0, 0, now.Location()), Count{}
	}
	this := now.Truncate(time.Minute)
	if n := len(r.minutes); n > 0 {
		if gap := this.Sub(r.minutes[n-1].At.Time); gap < 0 || gap > keepMinutes*time.Minute {
			r.minutes = nil // the clock was set, or the hour was quiet
		}
	}
	if len(r.minutes) == 0 {
		r.minutes = []minute{{Minute: Minute{At: strictjson.At(this)}}}
	}
	for r.minutes[len(r.minutes)-1].At.Before(this) {
		next := r.minutes[len(r.minutes)-1].At.Add(time.Minute)
		r.minutes = last(append(r.minutes, minute{Minute: Minute{At: strictjson.At(next)}}), keepMinutes)
	}
}

// last returns the last n elements.
func last[T any](s []T, n int) []T {
	if len(s) <= n {
		return s
	}
	return slices.Clone(s[len(s)-n:])
}
