package bucket

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/s3"
)

// health knows whether the store can be reached. A request that failed although it
// was retried makes it unreachable; then the store is probed until that succeeds.
type health struct {
	store *Store

	mu      sync.Mutex
	down    error // nil while the store can be reached
	probing sync.WaitGroup
}

// observe records that a request has failed.
func (h *health) observe(e *s3.Error) {
	if unusable(e.Class) {
		h.begin(e)
	}
}

// unusable reports whether an error of this class concerns all requests, not only one.
func unusable(class s3.Class) bool {
	switch class {
	case s3.NotFound, s3.Exists, s3.Refused, s3.Unsupported:
		return false
	default:
		return true
	}
}

// begin records that the store cannot be used, and probes it until it can.
func (h *health) begin(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down != nil || h.store.ctx.Err() != nil {
		return
	}
	h.down = err
	h.store.log.Error("the object store cannot be used", zap.Error(err))
	h.probing.Go(h.probe)
}

func (h *health) probe() {
	ctx := h.store.ctx
	for {
		select {
		case <-time.After(probeInterval):
		case <-ctx.Done():
			return
		}
		if err := h.store.bucket.Probe(ctx, h.store.config.KeepOriginals); err != nil {
			h.store.log.Debug("the object store still cannot be used", zap.Error(err))
			continue
		}
		h.mu.Lock()
		h.down = nil
		h.mu.Unlock()
		h.store.log.Info("the object store can be used again")
		if err := h.store.FinishDeletions(ctx); err != nil {
			h.store.log.Warn("cannot finish deletions", zap.Error(err))
		}
		return
	}
}

func (h *health) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down == nil {
		return nil
	}
	if s3.Is(h.down, s3.Full) {
		return fault.Wrap(fault.InsufficientStorage, h.down, "The object store is full.")
	}
	return fault.Wrap(fault.Unavailable, h.down, "The object store is currently unreachable; try again later.")
}

func (h *health) wait() { h.probing.Wait() }
