package daemon

import (
	"net/http"
	"sync"
	"time"
)

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
// use their connection no longer.
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

// wait waits until the requests that began before it have ended, and reports
// whether that took no longer than limit. It is called once.
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
