package daemon

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Limits for the phases of shutdown. systemd's TimeoutStopSec is longer than
// their sum.
const (
	drainTime  = 15 * time.Second // for requests in progress
	giveUpTime = 10 * time.Second // for jobs in progress; then they are returned to the queue
	lastTime   = 2 * time.Second  // for requests that arrived meanwhile
)

// stop shuts down in order: not ready, the tunnel takes no new requests,
// requests drain, the queue is closed, running jobs end or return to the queue,
// the listeners are closed. Until then work is refused with ShuttingDown, and files
// are served. release ends the codec processes.
func (d *Daemon) stop(tunnelDone, workersDone <-chan struct{}, giveUp context.CancelFunc) {
	d.log.Info("stopping")
	d.notify("STOPPING=1")
	close(d.stopping)
	d.stopRunning()

	drained := d.requests.wait(drainTime)
	<-tunnelDone // it began to stop when ctx ended: unregistering takes at most 5 s, then it drains for as long
	d.queue.Close()
	select {
	case <-workersDone:
	case <-time.After(giveUpTime):
		giveUp()
		<-workersDone
	}
	last, cancel := context.WithTimeout(context.Background(), lastTime)
	defer cancel()
	if err := d.server.Shutdown(last); err != nil || !drained {
		d.log.Warn("requests cut off at shutdown", zap.Error(err))
		_ = d.server.Close() // the listener may be closed already
	}
	pending, _ := d.queue.Depth()
	d.log.Info("stopped", zap.Int("jobs_for_the_next_start", pending))
}

// release frees what New acquired; parts that were not created are nil.
func (d *Daemon) release() {
	d.stopRunning()
	if d.pool != nil {
		d.pool.Close()
	}
	for _, l := range []net.Listener{d.listener, d.socket, d.admin} {
		if l != nil {
			_ = l.Close() // the server may have closed it
		}
	}
	if d.fetcher != nil {
		d.fetcher.Close()
	}
	if d.access != nil {
		d.access.Close()
	}
	if d.receivers != nil {
		d.receivers.CloseIdleConnections()
	}
	if d.store != nil {
		d.warn("cannot close served directory", d.store.Close())
	}
	if d.queue != nil {
		d.warn("cannot close queue", d.queue.Unlock())
	}
	if d.fleetLock != nil {
		d.warn("cannot unlock data directory", d.fleetLock.Close())
	}
}

// drain lets requests that began before the shutdown end, while later ones are
// still answered: the listeners are closed last, so that a client of a stopping
// daemon gets an answer, not a closed connection.
type drain struct {
	mu       sync.Mutex
	stopping bool
	earlier  int           // requests in progress that began before
	empty    chan struct{} // closed when there are none
}

func newDrain() *drain { return &drain{empty: make(chan struct{})} }

// wrap counts the requests to a handler. Once the daemon stops, it asks clients to
// close their connections.
func (d *drain) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.enter() {
			defer d.leave()
		} else {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func (d *drain) enter() (earlier bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return false
	}
	d.earlier++
	return true
}

func (d *drain) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.earlier--; d.stopping && d.earlier == 0 {
		close(d.empty)
	}
}

// wait waits for the requests that began before it, and reports whether they ended
// within limit. It is called once.
func (d *drain) wait(limit time.Duration) bool {
	d.mu.Lock()
	if d.stopping = true; d.earlier == 0 {
		close(d.empty)
	}
	d.mu.Unlock()
	select {
	case <-d.empty:
		return true
	case <-time.After(limit):
		return false
	}
}
