package jobs

import (
	"crypto/sha256"
	"io"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Admission is the right to submit one upload: a place in the queue, and the
// source once it is received. Its owner must call Close in any case.
type Admission struct {
	s      *Service
	place  Place         // nil once it is the job's
	upload *spool.Upload // nil until it is received, and once it is the job's
	waits  bool          // the client waits, and no one relies on the job yet

	RequestID string // for the log; may be set before Submit
	Filename  string // the client's name for the image, for display; set by Receive
}

// Admit decides, before the body is read, whether an upload is accepted. bytes
// is the declared length of the body (-1 if unknown), up to overhead of which
// are not image data. It returns a ShuttingDown, TooLarge, InsufficientStorage
// or QueueFull fault, or that of Sets.Check.
func (s *Service) Admit(bytes, overhead int64) (*Admission, error) {
	if err := s.running(); err != nil {
		return nil, err
	}
	if err := s.ready(bytes, overhead); err != nil {
		return nil, err
	}
	place, err := s.config.Queue.Reserve(true)
	if err != nil {
		return nil, err
	}
	return &Admission{s: s, place: place}, nil
}

// ready returns a fault if a body of this many bytes (-1 if unknown, 0 for none), up
// to overhead of which are not image data, is too large, or while the disk has no
// space for it or no set can be published.
func (s *Service) ready(bytes, overhead int64) error {
	if err := s.config.Spool.Check(bytes, overhead); err != nil {
		return err
	}
	return s.config.Sets.Check()
}

// running returns a ShuttingDown fault if the daemon is stopping.
func (s *Service) running() error {
	select {
	case <-s.config.Stopping:
		return fault.Stopping()
	default:
		return nil
	}
}

// Receive streams the image into the spool, or into memory if there is room and
// mayHold is set, until a client relies on it. With a store of uploads it may stay
// in memory even then. filename is the client's name for it, for display. Faults
// returned by body are passed through unchanged.
func (a *Admission) Receive(body io.Reader, filename string, mayHold bool) (sum [sha256.Size]byte, err error) {
	a.waits, a.Filename = mayHold, job.CleanFilename(filename)
	receive := a.s.config.Spool.Receive
	if mayHold || a.s.config.Uploads != nil {
		receive = a.s.config.Spool.ReceiveInMemory
	}
	upload, err := receive(body, a.Filename)
	if err != nil {
		return sum, err
	}
	a.upload = upload
	return upload.SHA256, nil
}

// Close releases the place and discards the source, unless they became a job.
func (a *Admission) Close() {
	if a.place != nil {
		a.place.Release()
	}
	if a.upload != nil {
		a.upload.Discard()
	}
}
