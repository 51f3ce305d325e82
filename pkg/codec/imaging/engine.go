// Package imaging renders the ladder of one image with libvips: it decodes the
// source once, rotates it upright, converts it to sRGB, downscales it rung by
// rung and encodes each rung in each format.
//
// bimg starts libvips and provides its settings, memory figures and type
// detection; kernel.c does what bimg's Resize cannot: decode once for many
// sizes. Nothing here protects against a crash or an endless loop in a decoder:
// a process that faces the network runs this package in a child.
//
// Errors of libvips become a *fault.Error here and nowhere else.
package imaging

/*
#cgo pkg-config: vips libwebp libjpeg libheif gmodule-no-export-2.0
#cgo CFLAGS: -O3
#cgo LDFLAGS: -lm
#include "kernel.h"
*/
import "C"

import (
	"fmt"
	"os"
	"sync"

	"github.com/h2non/bimg"
	"golang.org/x/sys/unix"
)

// Config configures the engine.
type Config struct {
	Threads int // parallel encoders, at least 1

	// Test is called before each part of the self-test, such as "read heic"; the
	// part is skipped if it returns false. nil skips none.
	Test func(part string) bool
}

// Engine renders ladders. It is safe for concurrent use.
type Engine struct {
	encoders chan struct{} // one slot per running encoder
	versions Versions
	heap     heap
}

// setUp configures libvips once per process.
var setUp = sync.OnceValue(func() error {
	bimg.VipsCacheSetMax(0) // each source is decoded once, so a cache never hits
	bimg.VipsCacheSetMaxMem(0)
	if C.kernel_start() != 0 {
		return lastError()
	}
	if compilesVectors() && !canCompile() {
		bimg.VipsVectorSetEnabled(false)
	}
	return nil
})

// compilesVectors reports whether libvips generates vector code at run time, as
// it did up to 8.14.
func compilesVectors() bool {
	return C.vips_version(0) == 8 && C.vips_version(1) < 15
}

// canCompile reports whether the process may write and execute code. Where it
// may not (systemd's MemoryDenyWriteExecute) and cannot open a file as a
// workaround, the compiler of libvips 8.14 crashes.
func canCompile() bool {
	code, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return false
	}
	return unix.Munmap(code) == nil
}

// Start initializes libvips for this process and runs its self-test.
func Start(cfg Config) (*Engine, error) {
	if cfg.Threads < 1 {
		return nil, fmt.Errorf("imaging: threads must be at least 1 (got %d)", cfg.Threads)
	}
	if err := setUp(); err != nil {
		return nil, fmt.Errorf("imaging: start libvips: %w", err)
	}
	e := &Engine{encoders: make(chan struct{}, cfg.Threads)}
	if cfg.Test == nil {
		cfg.Test = func(string) bool { return true }
	}
	onThread(func() { e.versions = selfTest(cfg.Test) })
	trimMemory()
	return e, nil
}

// MemoryInfo is libvips' own memory accounting for the process.
type MemoryInfo struct {
	Bytes       int64 // currently allocated
	Highwater   int64 // peak, bytes
	Allocations int64
}

// Memory returns libvips' accounting. Shortly after the last render it shows 0
// bytes: anything else is a leak.
func Memory() MemoryInfo {
	m := bimg.VipsMemory()
	return MemoryInfo{Bytes: m.Memory, Highwater: m.MemoryHighwater, Allocations: m.Allocations}
}
