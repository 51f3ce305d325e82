// Package thermal tells when a board is too hot to work with all it has.
//
// A small board without a fan that is slowed down by its firmware does no more
// work with four busy cores than with two, and answers everybody else late. So
// while it is hot, or its voltage too low, all workers but one wait.
package thermal

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Governor follows a board's heat.
type Governor struct {
	root string
	log  *zap.Logger

	mu           sync.Mutex
	last         Reading
	coolReadings int                // readings in a row that were cool
	cool         context.Context    // ends when it becomes hot
	endCool      context.CancelFunc // ends cool
	resumed      chan struct{}      // closed when it is cool; another one while it is hot
}

const (
	interval           = 5 * time.Second
	coolReadingsNeeded = 6 // cool readings in a row before all work again
)

// New reads once. The root is that of Read.
func New(root string, log *zap.Logger) *Governor {
	g := &Governor{root: root, log: log, resumed: make(chan struct{})}
	close(g.resumed)
	g.cool, g.endCool = context.WithCancel(context.Background())
	g.Update()
	return g
}

// Run reads every few seconds until ctx ends. Where there is nothing to read,
// it only waits for that.
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

// Look takes one reading.
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

// Last is the last reading.
func (g *Governor) Last() Reading {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Hot reports whether workers are held back.
func (g *Governor) Hot() bool { return g.Cool().Err() != nil }

// Cool ends when it becomes too hot, and has ended while it is.
func (g *Governor) Cool() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cool
}

// Wait blocks while it is too hot. Its error is that of ctx.
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
