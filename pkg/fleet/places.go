package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/optimizerd/optimizerd/pkg/notify"
)

// Limits on the fleet's webhooks that a node holds. It may hold many more than it
// sends at once, because only they show which receiver is slow.
const (
	maxHeld    = 1024
	maxWaiting = 256              // for one host
	crowdTime  = 15 * time.Second // until a webhook for a crowded host is redelivered
)

// places limit the concurrent deliveries of a node, in total and per host: a slow or
// dead receiver must not delay the others.
type places struct {
	held chan struct{}
	all  chan struct{}

	mu     sync.Mutex
	byHost map[string]*hostPlaces
}

// hostPlaces are the places of a host with webhooks here.
type hostPlaces struct {
	taken chan struct{}
	users int // that have a place or wait for one
}

func newPlaces() *places {
	return &places{held: make(chan struct{}, maxHeld), all: make(chan struct{}, notify.MaxInFlight), byHost: make(map[string]*hostPlaces)}
}

// hold waits until one more webhook may be held here. ok is false if ctx ends first.
func (p *places) hold(ctx context.Context) (leave func(), ok bool) {
	select {
	case p.held <- struct{}{}:
		return func() { <-p.held }, true
	case <-ctx.Done():
		return nil, false
	}
}

// enter waits for a place to send to a host, and calls alive from time to time
// meanwhile and at the end. ok is false if too many wait for the host, or ctx ends.
func (p *places) enter(ctx context.Context, host string, alive func()) (leave func(), ok bool) {
	h := p.join(host)
	if h == nil {
		return nil, false
	}
	ticker := time.NewTicker(deliveryWait / 3)
	defer ticker.Stop()
	var got []chan struct{}
	leave = func() {
		for _, place := range got {
			<-place
		}
		p.part(host)
	}
	for _, place := range []chan struct{}{h.taken, p.all} {
		for waiting := true; waiting; {
			select {
			case place <- struct{}{}:
				got = append(got, place)
				waiting = false
			case <-ticker.C:
				alive()
			case <-ctx.Done():
				leave()
				return nil, false
			}
		}
	}
	alive()
	return leave, true
}

func (p *places) join(host string) *hostPlaces {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.byHost[host]
	if h == nil {
		h = &hostPlaces{taken: make(chan struct{}, notify.MaxPerHost)}
		p.byHost[host] = h
	}
	if h.users == maxWaiting {
		return nil
	}
	h.users++
	return h
}

func (p *places) part(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.byHost[host]
	if h.users--; h.users == 0 {
		delete(p.byHost, host)
	}
}
