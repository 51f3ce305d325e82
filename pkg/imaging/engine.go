// Package imaging makes the ladder of one picture with libvips: it decodes the
// source once, turns it upright, brings it to sRGB, shrinks it rung by rung
// and encodes each rung in each format.
//
// bimg starts libvips, knows its settings, its memory figures and the types of
// files; kernel.c does what bimg's own Resize cannot: decode once for many
// sizes. Nothing here is safe from a crash or an endless loop in a decoder: a
// process that faces the net runs this package in a child.
//
// What libvips has to say becomes a *fault.Error here and nowhere else.
package imaging

/*
#cgo pkg-config: vips libwebp libjpeg
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

// Config holds the settings of the engine.
type Config struct {
	Threads int // encoders running at once, at least 1

	// Test is asked before each part of the self-test, such as "read heic";
	// a part that it refuses is left out. nil refuses none.
	Test func(part string) bool
}

// Engine renders ladders. Its methods may be called from many goroutines.
type Engine struct {
	encoders chan struct{} // a place for each encoder that may run
	versions Versions
}

// libvips is set up once for the whole process, whatever it was before.
var setUp = sync.OnceValue(func() error {
	bimg.VipsCacheSetMax(0) // a source is decoded once: there is nothing to find again
	bimg.VipsCacheSetMaxMem(0)
	if C.kernel_start() != 0 {
		return lastError()
	}
	if compilesVectors() && !canCompile() {
		bimg.VipsVectorSetEnabled(false)
	}
	return nil
})

// compilesVectors reports whether libvips makes its vector code while it runs,
// as it did until 8.14.
func compilesVectors() bool {
	return C.vips_version(0) == 8 && C.vips_version(1) < 15
}

// canCompile reports whether a program may write code and run it. Where it may
// not (systemd's MemoryDenyWriteExecute), and can open no file to go around
// that, the compiler of libvips 8.14 gives up with a crash.
func canCompile() bool {
	code, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return false
	}
	return unix.Munmap(code) == nil
}

// Start sets up libvips for this process and has it test itself.
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

// MemoryInfo is libvips' own account of its memory, in the whole process.
type MemoryInfo struct {
	Bytes       int64 // in use
	Highwater   int64 // the most that was in use, bytes
	Allocations int64
}

// Memory reads libvips' account. Soon after the last render it shows no bytes:
// anything else is a leak.
func Memory() MemoryInfo {
	m := bimg.VipsMemory()
	return MemoryInfo{Bytes: m.Memory, Highwater: m.MemoryHighwater, Allocations: m.Allocations}
}
