package jobs

import (
	"crypto/sha256"
	"io"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/spool"
)

// Admission is the right to submit one upload: a place in the queue, and the
// source once it is received. Its owner ends it with Close, whatever became of
// the upload.
type Admission struct {
	s      *Service
	place  Place
	upload *spool.Upload // nil until it is received
}

// Admit decides, before a body is read, whether an upload can be taken. bytes is
// the declared length of the body, -1 if it is unknown, of which up to overhead
// are not the image. It returns the fault ShuttingDown, TooLarge,
// InsufficientStorage or QueueFull.
func (s *Service) Admit(bytes, overhead int64) (*Admission, error) {
	if err := s.running(); err != nil {
		return nil, err
	}
	if err := s.config.Spool.Check(bytes, overhead); err != nil {
		return nil, err
	}
	place, err := s.config.Queue.Reserve()
	if err != nil {
		return nil, err
	}
	return &Admission{s: s, place: place}, nil
}

// running returns the fault ShuttingDown once the daemon is stopping.
func (s *Service) running() error {
	select {
	case <-s.config.Stopping:
		return fault.Stopping()
	default:
		return nil
	}
}

// CheckBody returns the fault TooLarge if a body of this many bytes, of which up
// to overhead are not the image, is over the limit.
func (a *Admission) CheckBody(bytes, overhead int64) error {
	return a.s.config.Spool.CheckSize(bytes - overhead)
}

// Receive streams the image into the spool. Where mayHold is true it may stay in
// memory until a client relies on it. filename is the client's, and only shown.
// Errors of body that are faults come back as they are.
func (a *Admission) Receive(body io.Reader, filename string, mayHold bool) (sum [sha256.Size]byte, err error) {
	receive := a.s.config.Spool.Receive
	if mayHold {
		receive = a.s.config.Spool.ReceiveInMemory
	}
	upload, err := receive(body, spool.CleanFilename(filename))
	if err != nil {
		return sum, err
	}
	a.upload = upload
	return upload.SHA256, nil
}

// Close gives back what did not become a job.
func (a *Admission) Close() {
	a.place.Release()
	if a.upload != nil {
		a.upload.Discard()
	}
}
