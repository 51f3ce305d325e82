package main

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// loadResult is a number of clients who each send the next photo when they have
// the answer to the last.
type loadResult struct {
	Clients   int
	Ladders   int     // that ended within the time
	PerMinute float64 // of them
	P50, P99  float64 // seconds from the first byte sent to the manifest
	Peak      int64   // bytes
	Others    float64 // the share of all cores that programs had which have no part in this
	Busy      float64 // the share of the rest that the daemon and its children had
}

// loadWindow is how long each number of clients is watched. What is under way
// when it ends is let end, and not counted.
const loadWindow = 25 * time.Second

// uploads runs the closed loop, each number of clients with a fresh daemon that
// has its defaults.
func (b *bench) uploads(ctx context.Context) error {
	p, err := b.load(ctx, photo2MP)
	if err != nil {
		return err
	}
	for _, clients := range []int{1, 2, 4, 8} {
		b.progress("load: %d clients", clients)
		r, err := b.closedLoop(ctx, p, clients)
		if err != nil {
			return err
		}
		b.results.Load = append(b.results.Load, r)
	}
	return nil
}

func (b *bench) closedLoop(ctx context.Context, p photo, clients int) (r loadResult, err error) {
	d, err := b.daemon(ctx)
	if err != nil {
		return r, err
	}
	defer d.stop()
	if _, err := d.upload(ctx, p); err != nil { // the first of anything is slow
		return r, err
	}
	before, err := d.usage()
	if err != nil {
		return r, err
	}
	var mu sync.Mutex
	var latencies []float64
	end := time.Now().Add(loadWindow)
	group, ctx := errgroup.WithContext(ctx)
	for range clients {
		group.Go(func() error {
			for time.Now().Before(end) {
				began := time.Now()
				if _, err := d.upload(ctx, p); err != nil {
					return err
				}
				if time.Now().Before(end) {
					mu.Lock()
					latencies = append(latencies, time.Since(began).Seconds())
					mu.Unlock()
				}
			}
			return nil
		})
	}
	var after usage
	group.Go(func() (err error) {
		select {
		case <-time.After(time.Until(end)):
			after, err = d.usage()
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err := group.Wait(); err != nil {
		return r, err
	}
	used := after.minus(before)
	r = loadResult{
		Clients: clients, Ladders: len(latencies),
		PerMinute: float64(len(latencies)) / loadWindow.Minutes(),
		P50:       quantile(latencies, 0.5), P99: quantile(latencies, 0.99),
		Others: used.others(), Busy: used.process / used.elapsed.Seconds() / float64(runtime.NumCPU()) / (1 - used.others()),
	}
	r.Peak, err = d.peak()
	return r, err
}
