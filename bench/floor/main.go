// Command floor is the contestant that nobody can beat with libvips: one decode
// of the photo, and the encoding of pixels that are in memory already, with the
// settings of the ladder. How the pixels came there is not counted.
package main

/*
#cgo pkg-config: vips
#include <stdlib.h>
#include "floor.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/bench/contest"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func main() {
	runtime.LockOSThread() // libvips keeps its caches by thread
	if C.floor_start() != 0 {
		log.Fatal(lastError())
	}
	about := "floor, libvips " + C.GoString(C.vips_version_string())
	if err := contest.Serve(os.Stdin, os.Stdout, about, render); err != nil {
		log.Fatal(err)
	}
}

var formats = map[ladder.Format]C.FloorFormat{
	ladder.JPEG: C.FLOOR_JPEG,
	ladder.WebP: C.FLOOR_WEBP,
	ladder.AVIF: C.FLOOR_AVIF,
}

func render(r contest.Request) (*contest.Parts, error) {
	path := C.CString(r.Photo)
	defer C.free(unsafe.Pointer(path))
	top := 0
	for _, v := range r.Variants {
		top = max(top, v.Width)
	}
	shrink, err := decoderShrink(path, top)
	if err != nil {
		return nil, err
	}
	parts := contest.Parts{Encode: make(map[string]float64)}
	var failed bool
	if parts.Decode = cpuOf(func() { failed = C.floor_decode(path, C.int(shrink)) != 0 }); failed {
		return nil, lastError()
	}
	for _, v := range r.Variants {
		out, seconds, err := encode(path, v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		parts.Encode[v.Name] = seconds
		if err := os.WriteFile(filepath.Join(r.Folder, v.Name), out, 0o600); err != nil {
			return nil, err
		}
	}
	return &parts, nil
}

// decoderShrink is the largest factor by which libjpeg can shrink while it
// decodes that leaves the image at least as wide as the top rung.
func decoderShrink(path *C.char, top int) (int, error) {
	var width C.int
	if C.floor_width(path, &width) != 0 {
		return 0, lastError()
	}
	shrink := 1
	for shrink < 8 && int(width) >= top*2*shrink {
		shrink *= 2
	}
	return shrink, nil
}

func encode(path *C.char, v contest.Variant) ([]byte, float64, error) {
	var pixels *C.VipsImage
	if C.floor_pixels(path, C.int(v.Width), &pixels) != 0 {
		return nil, 0, lastError()
	}
	defer C.g_object_unref(C.gpointer(pixels))
	var buffer unsafe.Pointer
	var length C.size_t
	var failed bool
	seconds := cpuOf(func() {
		failed = C.floor_encode(pixels, formats[v.Format], C.int(v.Quality), C.int(v.Effort), &buffer, &length) != 0
	})
	if failed {
		return nil, 0, lastError()
	}
	defer C.g_free(C.gpointer(buffer))
	return C.GoBytes(buffer, C.int(length)), seconds, nil
}

// cpuOf is the CPU time in seconds, of all threads, that f takes.
func cpuOf(f func()) float64 {
	start := cpu()
	f()
	return cpu() - start
}

func cpu() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err) // every Linux has this clock
	}
	return float64(t.Nano()) / 1e9
}

func lastError() error {
	text := C.vips_error_buffer_copy()
	defer C.g_free(C.gpointer(text))
	return errors.New(strings.TrimSpace(C.GoString(text)))
}
