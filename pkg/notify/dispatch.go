package notify

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Limits on parallel deliveries by one machine: a slow or dead receiver must not
// delay the others.
const (
	MaxInFlight = 8
	MaxPerHost  = 2
)

// item is the in-memory part of an entry: what scheduling needs.
type item struct {
	id       string
	retries  int // of the job, before this end
	host     string
	next     time.Time // with a monotonic reading, as the next one
	created  time.Time
	failures int // failed attempts since startup
	seq      int // order among items due at the same time; 0 until scheduled
}

// schedule is a min-heap of items by due time.
type schedule []*item

func (s schedule) Len() int      { return len(s) }
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(it any)  { *s = append(*s, it.(*item)) }

func (s schedule) Less(i, j int) bool {
	if c := s[i].next.Compare(s[j].next); c != 0 {
		return c < 0
	}
	return s[i].seq < s[j].seq
}

func (s *schedule) Pop() any {
	last := len(*s) - 1
	it := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return it
}

// host is a receiver host with deliveries in flight.
type host struct {
	inFlight int
	waiting  []*item // due items waiting for a slot of this host, in order
}

// add schedules items. o.mu must be held.
func (o *Outbox) add(items []*item) {
	for _, it := range items {
		if it.seq == 0 {
			o.lastSeq++
			it.seq = o.lastSeq
		}
		heap.Push(&o.due, it)
	}
	o.signal()
}

// signal wakes Run.
func (o *Outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// shutdownGrace is how long attempts in flight may take once Run must return: a
// receiver that already has a webhook, but whose response is lost, would get it
// again.
const shutdownGrace = 5 * time.Second

// Run delivers webhooks until ctx ends, then waits for the attempts in flight.
// Attempts that exceed shutdownGrace are canceled; they and all others stay in
// the outbox.
func (o *Outbox) Run(ctx context.Context) error {
	deliverCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var attempts sync.WaitGroup
	defer func() {
		defer time.AfterFunc(shutdownGrace, cancel).Stop()
		attempts.Wait()
	}()
	for ctx.Err() == nil {
		it, at := o.next(time.Now())
		if it != nil {
			attempts.Go(func() { o.done(it, o.attempt(deliverCtx, it)) })
			continue
		}
		var alarm <-chan time.Time // nil: only a signal ends the wait
		if !at.IsZero() {
			alarm = time.After(time.Until(at))
		}
		select {
		case <-o.wake:
		case <-alarm:
		case <-ctx.Done():
		}
	}
	return nil
}

// next returns the item to deliver now, or nil and the time the next one is
// due, zero if unknown.
func (o *Outbox) next(now time.Time) (_ *item, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.inFlight < MaxInFlight && len(o.due) > 0 {
		if first := o.due[0]; first.next.After(now) {
			return nil, first.next
		}
		it := heap.Pop(&o.due).(*item)
		h := o.hosts[it.host]
		if h == nil {
			h = &host{}
			o.hosts[it.host] = h
		}
		if h.inFlight == MaxPerHost {
			h.waiting = append(h.waiting, it)
			continue
		}
		h.inFlight++
		o.inFlight++
		return it, time.Time{}
	}
	return nil, time.Time{}
}

// done releases an item returned by next. It is rescheduled if it stays in
// the outbox.
func (o *Outbox) done(it *item, stays bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.inFlight--
	h := o.hosts[it.host]
	h.inFlight--
	var again []*item
	switch {
	case len(h.waiting) > 0:
		again, h.waiting = h.waiting[:1:1], h.waiting[1:]
	case h.inFlight == 0:
		delete(o.hosts, it.host)
	}
	if stays {
		again = append(again, it)
	}
	o.add(again)
}
