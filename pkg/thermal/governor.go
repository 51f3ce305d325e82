// Package thermal detects when a board is too hot to work at full load.
//
// A small board without a fan that is throttled by its firmware does no more
// work with four busy cores than with two, and responds more slowly. So while
// it is hot, or undervolted, all workers except one wait.
package thermal

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Governor monitors the temperature of a board. It is safe for concurrent use.
type Governor struct {
	root string
	log  *zap.Logger

	mu           sync.Mutex
	last         Reading
	coolReadings int                // consecutive cool readings
	cool         context.Context    // ends when the board becomes hot
	endCool      context.CancelFunc // ends cool
	resumed      chan struct{}      // closed while the board is cool; replaced when it becomes hot
}

const (
	interval           = 5 * time.Second
	coolReadingsNeeded = 6 // consecutive cool readings before all workers resume
)

// New takes a first reading. root is as for Read.
func New(root string, log *zap.Logger) *Governor {
	g := &Governor{root: root, log: log, resumed: make(chan struct{})}
	close(g.resumed)
	g.cool, g.endCool = context.WithCancel(context.Background())
	g.Update()
	return g
}

// Run takes a reading every few seconds until ctx ends. If there is nothing to
// read, it only waits for ctx.
func (g *Governor) Run(ctx context.Context) error {
	if !g.Last().Known() {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			g.Update()
		case <-ctx.Done():
			return nil
		}
	}
}

// Update takes a reading.
func (g *Governor) Update() {
	r := Read(g.root)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = r
	if g.coolReadings++; !r.cool() {
		g.coolReadings = 0
	}
	switch hot := g.cool.Err() != nil; {
	case !hot && r.Hot():
		g.log.Warn("board is hot, processing one image at a time", zap.Stringer("board", r))
		g.resumed = make(chan struct{})
		g.endCool()
	case hot && g.coolReadings >= coolReadingsNeeded:
		g.log.Info("board cooled down, all workers resumed", zap.Stringer("board", r))
		g.cool, g.endCool = context.WithCancel(context.Background())
		close(g.resumed)
	}
}

// Last returns the last reading.
func (g *Governor) Last() Reading {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Hot reports whether workers are throttled.
func (g *Governor) Hot() bool { return g.Cool().Err() != nil }

// Cool returns a context that is done as soon as, and while, the board is
// hot.
func (g *Governor) Cool() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cool
}

// Wait blocks while the board is hot. It returns ctx's error if ctx ends.
func (g *Governor) Wait(ctx context.Context) error {
	g.mu.Lock()
	resumed := g.resumed
	g.mu.Unlock()
	select {
	case <-resumed:
		return nil
	default:
	}
	select {
	case <-resumed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
