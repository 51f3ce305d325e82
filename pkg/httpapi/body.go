package httpapi

import (
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// paceGrace is the initial period in which a body may be slower than its rate.
const paceGrace = 10 * time.Second

// pacedBody reads a request body that may be slow but must keep arriving: a
// phone on a slow connection succeeds, a dead one is cut off. The total time
// is unlimited. Its errors are faults.
type pacedBody struct {
	body     io.Reader
	maxRead  int // bytes per read
	conn     *http.ResponseController
	idle     time.Duration
	rate     int64
	limit    int64 // bytes
	tooLarge error // if there are more
	began    time.Time
	n        int64
}

// chunkRead is the read size for bodies without a length: net/http returns only
// once it has filled the buffer, and each read has one deadline.
const chunkRead = 4 << 10

// paced returns the request's body as a pacedBody, which fails with tooLarge if it has
// more than limit bytes. The caller must call release.
func (a *api) paced(w http.ResponseWriter, r *http.Request, limit int64, tooLarge error) *pacedBody {
	b := &pacedBody{body: r.Body, maxRead: math.MaxInt, conn: http.NewResponseController(w), idle: a.BodyIdle, rate: a.BodyRate, limit: limit, tooLarge: tooLarge, began: time.Now()}
	if r.ContentLength < 0 {
		b.maxRead = chunkRead
	}
	return b
}

func (b *pacedBody) Read(p []byte) (int, error) {
	// Some connections do not support deadlines; then their owner limits the
	// pauses.
	_ = b.conn.SetReadDeadline(time.Now().Add(b.idle))
	n, err := b.body.Read(p[:min(len(p), b.maxRead)])
	if err == nil {
		b.release() // over HTTP/2 the deadline would abort the body while the data is being written
	}
	b.n += int64(n)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fault.Wrap(fault.UploadTimeout, err, "No data arrived for %v; send the image again.", b.idle)
	case err != nil && !errors.Is(err, io.EOF):
		return n, fault.Wrap(fault.InvalidRequest, err, "The body is shorter than declared; send it again.")
	}
	if b.n > b.limit { // the last bytes may arrive together with io.EOF
		return n, b.tooLarge
	}
	if late := time.Since(b.began) - paceGrace; err == nil && late > 0 && b.n < b.rate*int64(late/time.Second) {
		return n, fault.New(fault.UploadTimeout, "The body arrived at less than %d bytes per second; send the image again.", b.rate)
	}
	return n, err
}

// release clears the read deadline, which would otherwise abort the request
// during the work.
func (b *pacedBody) release() { _ = b.conn.SetReadDeadline(time.Time{}) }
