package notify

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// How many deliveries there are at once: a slow or dead receiver must not hold
// up the others'.
const (
	maxInFlight = 8
	maxPerHost  = 2
)

// item is what is in memory of an entry: all that scheduling needs.
type item struct {
	id       string
	host     string
	next     time.Time
	failures int // failed ones since the start
	seq      int // among those that are due at the same time: first come, first served; 0 until it is scheduled
}

// schedule is a heap of items, the next one first.
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

// host is a receiver with a delivery in flight.
type host struct {
	inFlight int
	waiting  []*item // due ones that found maxPerHost in flight, first come first
}

// add schedules items. o.mu is held.
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

// shutdownGrace is how long the tries in flight may still take when Run is to end:
// a receiver that has a webhook already, and whose answer nobody hears, would
// be told again.
const shutdownGrace = 5 * time.Second

// Run delivers until ctx ends, and lets end what is in flight then. What takes
// longer is cancelled and stays in the outbox, as does all that is released
// later.
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
		var alarm <-chan time.Time // none: only a signal brings something to do
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

// next takes the item to deliver now, if there is one; at is when the next is
// due, if that is known.
func (o *Outbox) next(now time.Time) (_ *item, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.inFlight < maxInFlight && len(o.due) > 0 {
		if first := o.due[0]; first.next.After(now) {
			return nil, first.next
		}
		it := heap.Pop(&o.due).(*item)
		h := o.hosts[it.host]
		if h == nil {
			h = &host{}
			o.hosts[it.host] = h
		}
		if h.inFlight == maxPerHost {
			h.waiting = append(h.waiting, it)
			continue
		}
		h.inFlight++
		o.inFlight++
		return it, time.Time{}
	}
	return nil, time.Time{}
}

// done ends what next began. The item is scheduled again if it stays in the
// outbox.
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
