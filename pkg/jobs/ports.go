package jobs

import (
	"context"
	"errors"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Stage is what a job waits for.
type Stage int

// The stages of a job.
const (
	Resolve Stage = iota // its source must be found: by URL, or among the originals
	Render               // its source is in the spool

	NumStages = iota // how many there are
)

// ErrQueueClosed is returned by Queue.Lease once the queue hands out no more
// jobs.
var ErrQueueClosed = errors.New("the queue is closed")

// Queue holds jobs until they have ended. Package queue is one: a folder.
type Queue interface {
	// Reserve takes a place for one job, or fails with the fault QueueFull or
	// ShuttingDown.
	Reserve() (Place, error)
	// Lease waits for the next job of a stage. Its error is ErrQueueClosed, that of
	// ctx, or one of the disk.
	Lease(ctx context.Context, stage Stage) (Lease, error)
	// Ticket returns another hold on a job that has not ended; ok is false once it
	// has.
	Ticket(id string) (t Ticket, ok bool)
	// Get returns a job, ended or not, or the fault NotFound.
	Get(id string) (job.Job, error)
	// Active returns the jobs that have not ended, in no order.
	Active() []job.Job
}

// Place is the right to put one job. It ends with Put, Hold or Release; Release
// after the others does nothing.
type Place interface {
	// Put makes a job durable and hands it to the workers. It works on a closed
	// queue too: the job was admitted before, and the next start does it.
	Put(j job.Job) (Ticket, error)
	// Hold hands a job to the workers that no client relies on yet. It does not
	// survive this process unless its ticket's Record is called.
	Hold(j job.Job) Ticket
	Release()
}

// Ticket is one client's view of a job.
type Ticket interface {
	// Job is the job as it stands.
	Job() job.Job
	// Wait blocks until the job or ctx has ended, and returns the job as it then
	// stands.
	Wait(ctx context.Context) job.Job
	// Recorded reports whether the job survives this process.
	Recorded() bool
	// Record makes a held job durable, whose source is so already. A job that has
	// ended needs no record.
	Record() error
	// Announce has the job's end recorded, since a client learns the job's id, and
	// returns the job. One that has ended already will not be recorded: its id must
	// not be given out.
	Announce() job.Job
	// AddWebhook durably adds a receiver; ok is false if the job has ended already.
	AddWebhook(w job.Webhook) (ok bool, err error)
}

// Lease is a worker's hold on one job. It ends by one of Return, Advance and
// End; a process that dies before that is taken to have returned it.
type Lease interface {
	// Job is the job as it stands.
	Job() job.Job
	// Announced reports whether a client relies on the job's end being recorded.
	Announced() bool
	// SetSource sets the source that the job's input was found to be.
	SetSource(source job.Source, imageID string) error
	// AddTimings adds what stages of the work have taken.
	AddTimings(t ladder.Timings)
	// Advance ends the stage Resolve, durably: the job waits for Render. After an
	// error the lease goes on.
	Advance() error
	// Return puts the job back; it is the next to be leased.
	Return() error

	// End ends the job in memory: completed, or failed for the given cause. Clients
	// still wait.
	End(cause error) (job.Job, error)
	// Record puts the end on record, if a client relies on it. It may be called
	// again after an error.
	Record() error
	// Wake ends the lease: waiting clients learn of the job's end.
	Wake()
}

// Sets are the published image sets.
type Sets interface {
	Has(id string) bool
	// Get returns a set's manifest, or the fault NotFound.
	Get(id string) (manifest.Manifest, error)
	// Original returns the path of the kept source of a set, or the fault NotFound.
	Original(id string) (path string, m manifest.Manifest, err error)
	// KeepOriginal keeps the source at path for a set that has none, if originals
	// are kept.
	KeepOriginal(id, path string)
}

// Outbox delivers webhooks.
type Outbox interface {
	// Put makes the webhooks of an ended job durable. They are not sent before
	// Release. It may be called again for the same job.
	Put(j job.Job) error
	// Release allows the webhooks of a job to be sent, whose end is recorded.
	Release(jobID string)
}

// Quarantine holds images that crashed the codec.
type Quarantine interface {
	// Check returns a fault if the image with this digest is in quarantine.
	Check(sha256 string) error
	Add(quarantine.Entry) error
}

// Fetcher downloads the image at a URL into the spool.
type Fetcher interface {
	Fetch(ctx context.Context, url string) (*spool.Upload, error)
}

// Throttle reduces the work while the machine is too hot for all of it.
type Throttle interface {
	// Cool ends when the machine becomes too hot, and has ended while it is.
	Cool() context.Context
	// Wait blocks while the machine is too hot. Its error is that of ctx.
	Wait(ctx context.Context) error
}
