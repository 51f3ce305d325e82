package imaging

/*
#include <malloc.h>
*/
import "C"

import (
	"sync"
	"time"

	"github.com/optimizerd/optimizerd/pkg/filepages"
)

// keepFor is how long the C heap keeps the memory of the last image for the next
// one: its pages need not be mapped and cleared again. The photos of a phone come
// some ten seconds apart.
const keepFor = 15 * time.Second

// keepUpTo is the estimated memory of a render, in bytes, that the kept memory may
// add to. A larger one starts with an empty heap: kept blocks are too small for
// it, and count toward the limit of the process.
const keepUpTo = 256 << 20

// heap trims the C heap once no render has used it for keepFor, and before a large
// one.
type heap struct {
	mu      sync.Mutex
	renders int // in progress
	trim    *time.Timer
}

func (h *heap) take() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renders++
	if h.trim != nil {
		h.trim.Stop()
	}
}

func (h *heap) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.renders--; h.renders == 0 {
		h.trim = time.AfterFunc(keepFor, func() { C.malloc_trim(0) })
	}
}

// reserve prepares the heap for a render of so many bytes, by estimate.
func (h *heap) reserve(need int64) {
	if need > keepUpTo {
		C.malloc_trim(0)
	}
}

// trimMemory returns the memory that startup alone needed: free memory of the C
// heap, and pages of libraries that were read to link and test them, of which
// libvips has about a hundred.
func trimMemory() {
	C.malloc_trim(0)
	filepages.Drop()
}
