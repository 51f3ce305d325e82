package imaging

/*
#include "kernel.h"
#include "outofmemory.h"
*/
import "C"

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// onThread runs f locked to its OS thread, and then frees what libvips keeps
// for each thread that called it.
func onThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer C.vips_thread_shutdown()
	f()
}

// status is the result of a call of the kernel.
type status int

const (
	failed      status = iota
	outOfMemory        // an allocation was refused
)

// kernelError is a failed call of the kernel.
type kernelError struct {
	status status
	text   string // for the log, not for decisions
}

func (e *kernelError) Error() string { return e.text }

// try runs a call of the kernel, which returns 0 on success.
//
// Refused allocations are counted for the process. A codec process renders one
// image at a time, so they belong to that image; elsewhere an error may be blamed on
// another image's lack of memory.
func try(call func() C.int) error {
	before := C.memory_refusals()
	if call() == 0 {
		return nil
	}
	err := &kernelError{text: lastError().Error()}
	if C.memory_refusals() != before {
		err.status = outOfMemory
	}
	return err
}

// ranOutOfMemory reports whether a call of the kernel failed for lack of memory.
func ranOutOfMemory(err error) bool {
	var k *kernelError
	return errors.As(err, &k) && k.status == outOfMemory
}

// lastError returns libvips' error message, for the log. The buffer is shared
// by all threads and may contain a concurrent failure.
func lastError() error {
	text := C.kernel_error()
	defer C.g_free(C.gpointer(unsafe.Pointer(text)))
	return errors.New(strings.ReplaceAll(strings.TrimSpace(C.GoString(text)), "\n", "; "))
}

// knows reports whether this libvips was built with an operation.
func knows(operation string) bool {
	name := C.CString(operation)
	defer C.free(unsafe.Pointer(name))
	return C.kernel_knows(name) != 0
}

// vipsImage is an opened source, or a rung in memory. Its owner must call free.
type vipsImage struct{ image *C.VipsImage }

func (p *vipsImage) free() { C.g_object_unref(C.gpointer(unsafe.Pointer(p.image))) }

// newImage returns the image made by a function of the kernel.
func newImage(call func(out **C.VipsImage) C.int) (*vipsImage, error) {
	p := new(vipsImage)
	if err := try(func() C.int { return call(&p.image) }); err != nil {
		return nil, err
	}
	return p, nil
}

// alpha reports whether a rung has transparent pixels.
func (p *vipsImage) alpha() bool { return p.image.Bands == 4 }

// opening configures how a file is read.
type opening struct {
	loader loader
	frames int             // 1, or -1 for all of an animation
	shrink int             // by the decoder itself, 1 for none
	edit   *imagefile.Edit // nil for none
}

// open reads the header of a file. Only one image of a file may be open at a
// time.
func open(f *os.File, o opening) (*vipsImage, error) {
	c := C.KernelOpening{
		loader: o.loader.kernel,
		frames: C.int(o.frames),
		shrink: C.int(o.shrink),
	}
	if o.edit != nil {
		c.edit = editOf(o.edit)
	}
	p, err := newImage(func(out **C.VipsImage) C.int { return C.kernel_open(C.int(f.Fd()), &c, out) })
	runtime.KeepAlive(f) // libvips has duplicated the descriptor
	return p, err
}

func (p *vipsImage) header(l loader) header {
	var c C.KernelHeader
	C.kernel_header(p.image, &c)
	h := header{
		format:      l.name,
		width:       int(c.width),
		height:      int(c.height),
		frames:      1,
		orientation: int(c.orientation),
		bands:       int(c.bands),
		sampleBytes: int(c.sample_bytes),
		alpha:       c.alpha != 0,
		cmyk:        c.cmyk != 0,
		progressive: c.progressive != 0,
		subsampled:  c.subsampled != 0,
		interlaced:  c.interlaced != 0,
	}
	switch { // brands do not always distinguish the two
	case c.av1 != 0:
		h.format = "avif"
	case c.hevc != 0:
		h.format = "heic"
	}
	if l.animated {
		h.frames = int(c.frames)
	}
	if c.profile != nil {
		h.profile = C.GoBytes(c.profile, C.int(c.profile_length))
	}
	if c.exif != nil {
		h.takenAt = imagefile.TakenAt(C.GoBytes(c.exif, C.int(c.exif_length)))
	}
	return h
}

// decode returns the top rung of an image with header h, width × height. The caller
// must then call upright and finish.
func (p *vipsImage) decode(h header, width, height int) (*vipsImage, error) {
	top := C.KernelTop{width: C.int(width), height: C.int(height)}
	if h.opaque {
		top.opaque = 1
	}
	if h.multiplied {
		top.multiplied = 1
	}
	if h.convert() {
		top.icc = 1
		top.intent = intents[profileIntent(h.profile)]
		if m, ok := parseMatrixProfile(h.profile); ok {
			top.shaped = 1
			top.shaper = shaperOf(m)
		}
	}
	return newImage(func(rung **C.VipsImage) C.int { return C.kernel_decode(p.image, &top, rung) })
}

// upright returns a rung rotated by an EXIF orientation, in place of p, which it
// frees.
func (p *vipsImage) upright(orientation int) (*vipsImage, error) {
	defer p.free()
	return newImage(func(rung **C.VipsImage) C.int { return C.kernel_upright(p.image, C.int(orientation), rung) })
}

// finish returns the top rung without a fully opaque alpha channel, in place of p,
// which it frees.
func (p *vipsImage) finish() (*vipsImage, error) {
	defer p.free()
	return newImage(func(rung **C.VipsImage) C.int { return C.kernel_finish(p.image, rung) })
}

var intents = map[intent]C.VipsIntent{
	perceptual: C.VIPS_INTENT_PERCEPTUAL,
	relative:   C.VIPS_INTENT_RELATIVE,
	saturation: C.VIPS_INTENT_SATURATION,
}

// shaperOf converts a profile to the kernel's fixed-point numbers.
func shaperOf(m matrixProfile) (s C.Shaper) {
	for c, curve := range m.curves {
		for v := range s.linear[c] {
			linear := min(max(curve(float64(v)/255), 0), 1)
			s.linear[c][v] = C.int32_t(math.Round(linear * C.SHAPER_ONE))
		}
	}
	for row, of := range m.toLinearSRGB() {
		for column, v := range of {
			s.matrix[row][column] = C.int32_t(math.Round(v * C.SHAPER_ONE))
		}
	}
	return s
}

// shrink returns a smaller rung.
func (p *vipsImage) shrink(to ladder.Rung) (*vipsImage, error) {
	return newImage(func(rung **C.VipsImage) C.int {
		return C.kernel_shrink(p.image, C.int(to.Width), C.int(to.Height), rung)
	})
}

// rgba returns the first frame of a rung, resized, 4 bytes per pixel, straight
// alpha.
func (p *vipsImage) rgba(width, height int) ([]byte, error) {
	small, err := newImage(func(out **C.VipsImage) C.int { return C.kernel_rgba(p.image, C.int(width), C.int(height), out) })
	if err != nil {
		return nil, err
	}
	defer small.free()
	pixels := unsafe.Pointer(C.vips_image_get_data(small.image))
	return C.GoBytes(pixels, C.int(4*width*height)), nil
}

var savers = map[ladder.Format]C.KernelSaver{
	ladder.JPEG: C.KERNEL_TO_JPEG,
	ladder.WebP: C.KERNEL_TO_WEBP,
	ladder.AVIF: C.KERNEL_TO_AVIF,
}

// encode encodes a rung.
func (p *vipsImage) encode(e ladder.Encoder, background ladder.RGB, lossless bool) (*encoding, error) {
	c := C.KernelEncoding{saver: savers[e.Format], quality: C.int(e.Quality), effort: C.int(e.Effort)}
	if lossless {
		c.lossless = 1
	}
	if e.Chroma != ladder.Chroma444 {
		c.subsample = 1
	}
	for i, v := range background {
		c.background[i] = C.double(v)
	}
	out := new(encoding)
	if err := try(func() C.int { return C.kernel_encode(p.image, &c, &out.buffer, &out.length) }); err != nil {
		return nil, err
	}
	if e.Format == ladder.WebP {
		out.length = C.size_t(stripWebP(out.bytes()))
		if p.alpha() {
			announceAlpha(out.bytes())
		}
	}
	return out, nil
}

// encoding is an encoded file in C memory. Its owner must call free.
type encoding struct {
	buffer unsafe.Pointer
	length C.size_t
}

func (e *encoding) free() { C.g_free(C.gpointer(e.buffer)) }

func (e *encoding) size() int64 { return int64(e.length) }

// bytes returns the file in place; it is valid until free.
func (e *encoding) bytes() []byte { return unsafe.Slice((*byte)(e.buffer), int(e.length)) }
