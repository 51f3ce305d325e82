package imaging

/*
#include <malloc.h>
*/
import "C"

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/filepages"
)

// keepFor is how long the C heap keeps the memory of the last image for the next
// one, whose pages then need not be mapped and cleared. Photos from a phone arrive
// about ten seconds apart.
const keepFor = 15 * time.Second

// keepUpTo is the largest estimated memory of a render, in bytes, for which kept
// memory is not released. A larger one starts with an empty heap: kept blocks are
// too small for it, and count toward the limit of the process.
const keepUpTo = 256 << 20

// tooLow is the maximum error of an estimate that is too low, in bytes.
const tooLow = 64 << 20

// heap trims the C heap once no render has used it for keepFor, and before a large
// one.
type heap struct {
	mu      sync.Mutex
	renders int // in progress
	used    bool
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
	h.used = true
	if h.renders--; h.renders == 0 {
		h.trim = time.AfterFunc(keepFor, func() { C.malloc_trim(0) })
	}
}

// reserve prepares the heap for a render of an estimated number of bytes. It reports
// whether this fits into the process's limit: a block in use at the end of the heap
// keeps everything below it allocated, and idle threads have stacks. The first render
// always has the maximum.
func (h *heap) reserve(need int64) bool {
	if need > keepUpTo {
		C.malloc_trim(0)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.used || canMap(need+tooLow)
}

// canMap reports whether the process may map this many bytes. It touches none.
func canMap(bytes int64) bool {
	b, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	return err == nil && unix.Munmap(b) == nil
}

// trimMemory releases the memory that only startup needed: free memory of the C
// heap, and pages of libraries that were read to link and test them. libvips has
// about a hundred of these.
func trimMemory() {
	C.malloc_trim(0)
	filepages.Drop()
}
