package imaging

/*
#include <malloc.h>
*/
import "C"

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
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
// libvips has about a hundred. They are unmodified file pages: those that are
// needed come back from the page cache.
func trimMemory() {
	C.malloc_trim(0)
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // leave it as it is
	}
	defer maps.Close()
	var start, end uintptr
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case fields[0] == "Anonymous:": // modified pages, such as relocations
			if fields[1] == "0" && end > start {
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED)
			}
		case !strings.HasSuffix(fields[0], ":"):
			start, end = unchangeable(fields)
		}
	}
}

// unchangeable returns the address range of a read-only file mapping, from its
// first line in smaps; 0, 0 for any other.
func unchangeable(fields []string) (start, end uintptr) {
	if len(fields) < 6 || fields[1][1] == 'w' || fields[5][0] != '/' {
		return 0, 0
	}
	from, to, _ := strings.Cut(fields[0], "-")
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return uintptr(a), uintptr(b)
}
