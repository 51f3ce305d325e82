package jobs

import (
	"context"
	"errors"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/quarantine"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Phase is what a job waits for.
type Phase int

// The phases of a job.
const (
	Resolve    Phase = iota // get its source, from a URL or an original
	Render                  // make its set; the source is in the spool
	Background              // the same, for background jobs, if these have dedicated workers

	NumPhases = iota // number of phases
)

// ErrQueueClosed is returned by Queue.Lease after the queue is closed.
var ErrQueueClosed = errors.New("the queue is closed")

// Queue holds jobs until they have ended. Package queue implements it with a
// directory.
type Queue interface {
	// Reserve reserves a place for one job, or returns a QueueFull or ShuttingDown
	// fault. Some places are for uploads alone.
	Reserve(upload bool) (Place, error)
	// Lease waits for the next job of a phase. It returns ErrQueueClosed, the error
	// of ctx, or an I/O error.
	Lease(ctx context.Context, phase Phase) (Lease, error)
	// Ticket returns a ticket for a job that has not ended; ok is false otherwise.
	Ticket(id string) (t Ticket, ok bool)
	// Get returns a job, ended or not, or a NotFound fault.
	Get(id string) (job.Job, error)
	// Unended reports whether a job has a record and has not ended, as far as that can
	// be read: a newer version may have written the record.
	Unended(id string) bool
	// SetAside reports whether a record of an unended job that cannot be read contains
	// the digest of this source.
	SetAside(sha256 string) bool
	// Active returns the jobs that have not ended, in no particular order.
	Active() []job.Job
	// List returns at most limit jobs, newest first: those with this status ("" for
	// all) that are older than the job with the id before ("" for the newest), and
	// whether there may be more.
	List(status job.Status, before string, limit int) (page []job.Job, more bool, err error)
	// Take leases a job that has not started, in order to cancel it: the caller must
	// call End with a Canceled fault. It returns a NotFound or Conflict fault.
	Take(id string) (Lease, error)
}

// ErrStarted is returned by Queue.Take for a job that is not waiting.
var ErrStarted = fault.New(fault.Conflict, "The job has started or ended; only a waiting job can be canceled.")

// QueueFull returns the fault of a queue with this many waiting jobs.
func QueueFull(waiting int) error {
	return fault.New(fault.QueueFull, "The queue is full (%d images waiting); try again later.", waiting)
}

// CheckPlaces returns a QueueFull fault if there is no place for another job. Jobs by
// URL, which visitors of a website may cause, leave a quarter of the places to uploads.
func CheckPlaces(waiting, places int, upload bool) error {
	if !upload {
		places -= places / 4
	}
	if waiting >= places {
		return QueueFull(waiting)
	}
	return nil
}

// Place is a reserved place for one job. Its owner must call Put, Hold or
// Release; Release after the others does nothing.
type Place interface {
	// Put makes a job durable and available to the workers. It also works on a closed
	// queue: the job was admitted before, and is executed after the next start. A retried
	// job replaces its failed record. A queue shared by several machines may return the
	// ticket of an equal job that another one has accepted, with the webhooks of j added.
	// After an error the place is still reserved.
	Put(j job.Job) (Ticket, error)
	// MayHold reports whether Hold is allowed: a worker of this machine will soon
	// start the job.
	MayHold() bool
	// Hold makes a job available to the workers without a record, while no client
	// relies on it. It does not survive the process unless its ticket's Record is
	// called.
	Hold(j job.Job) Ticket
	Release()
}

// Ticket is one client's view of a job.
type Ticket interface {
	// Job returns the current state of the job.
	Job() job.Job
	// Wait blocks until the job or ctx has ended, and returns the current state of
	// the job.
	Wait(ctx context.Context) job.Job
	// Recorded reports whether the job survives the process.
	Recorded() bool
	// Record makes a held job durable; its source must be durable already. It does
	// nothing if the job has ended.
	Record() error
	// Announce guarantees that the job's end will be recorded, so that its id can
	// be returned to a client, and returns the job. If the job has ended already,
	// no record remains and the caller must not return its id.
	Announce() job.Job
	// AddWebhook durably adds a receiver; ok is false if the job has ended already, or
	// is being canceled.
	AddWebhook(w job.Webhook) (ok bool, err error)
	// Raise moves a job out of the background, since a client may wait for it now; a
	// render in progress keeps its priority. After an error the job may be in the
	// background again after a restart. A queue may leave the job where it is.
	Raise() error
}

// Lease is a worker's hold on one job. It ends with Return, Pass, Advance, or End and
// Wake. If the process dies before that, the job returns to the queue.
type Lease interface {
	// Job returns the current state of the job.
	Job() job.Job
	// Announced reports whether a client relies on the job's end being recorded; after
	// End, whether one did then.
	Announced() bool
	// SetSource records the source that was found for the job.
	SetSource(source job.Source, imageID string) error
	// AddTimings adds to the timings of the job's stages.
	AddTimings(t ladder.Timings)
	// Advance durably ends the phase Resolve: the job waits for Render. After an
	// error the lease is still held.
	Advance() error
	// Return returns the job to the queue; it is the next to be leased.
	Return() error
	// Pass ends the lease if another machine may execute what failed here with cause,
	// and leaves the job to it, without counting this attempt. It calls persist first:
	// a job in memory must be made durable. If ok is false, because there is no such
	// machine or persist failed, the lease is still held.
	Pass(cause error, persist func() error) (ok bool, err error)

	// End ends the job in memory: completed, or failed for the given cause. Clients
	// still wait.
	End(cause error) (job.Job, error)
	// Record records the end, if a client relies on it. It may be called again
	// after an error.
	Record() error
	// Wake ends the lease and wakes the clients that wait for the job.
	Wake()
}

// Sets are the published image sets. Package publish implements it with a
// directory.
type Sets interface {
	Has(id string) bool
	// Get returns a set's manifest, or a NotFound fault.
	Get(id string) (manifest.Manifest, error)
	// Original returns the manifest of a set whose original is kept, or a NotFound
	// fault.
	Original(id string) (manifest.Manifest, error)
	// CopyOriginal stores the original of a set in the spool, under its digest.
	CopyOriginal(ctx context.Context, m manifest.Manifest, to *spool.Spool) error
	// RecordVariant durably records that a set is a variant of an image, and is deleted
	// with it. It returns a NotFound fault if the image is gone.
	RecordVariant(ctx context.Context, image, variant string) error
	// KeepOriginal stores the source at path as the original of a set that has
	// none, if originals are kept.
	KeepOriginal(id, path string)
	// Check returns a fault while no set can be published.
	Check() error
}

// Uploads stores sources that are in memory when their jobs must survive the
// process, so that they need not be written to the disk.
type Uploads interface {
	// Put durably stores the file at path as the source of a job.
	Put(jobID, digest, path string) error
	// Get stores the source of a job in the spool.
	Get(ctx context.Context, j job.Job, to *spool.Spool) error
	// Delete deletes the source of a job, if there is one, in the background.
	Delete(jobID string)
}

// Outbox delivers webhooks.
type Outbox interface {
	// Put makes the webhooks of an ended job durable. They are not sent before
	// Release. It is idempotent.
	Put(j job.Job) error
	// Release allows the webhooks of a job to be sent, once its end is
	// recorded.
	Release(jobID string)
}

// Quarantine records the images that crashed the codec.
type Quarantine interface {
	// Check returns a fault if the image with this digest is in quarantine.
	Check(sha256 string) error
	Add(quarantine.Entry) error
}

// Fetcher downloads the image at a URL into the spool.
type Fetcher interface {
	Fetch(ctx context.Context, url string) (*spool.Upload, error)
}

// Throttle reduces rendering while the machine is too hot.
type Throttle interface {
	// Cool returns a context that is done as soon as, and while, the machine is
	// too hot.
	Cool() context.Context
	// Wait blocks while the machine is too hot. It returns the error of ctx.
	Wait(ctx context.Context) error
}
