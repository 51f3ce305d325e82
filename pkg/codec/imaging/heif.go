package imaging

/*
#include "heif.h"
#include "outofmemory.h"
*/
import "C"

import (
	"os"
	"runtime"
)

// decoderFault returns the fault of a file that libvips could not open or decode.
func decoderFault(src *os.File, l loader, cause error) error {
	if l.kernel != heifLoader || ranOutOfMemory(cause) {
		return badPixels(l.name, cause)
	}
	stat, err := src.Stat()
	if err != nil {
		return readFault(err)
	}
	before := C.memory_refusals()
	unsupported := C.heif_is_unsupported(C.int(src.Fd()), C.gint64(stat.Size())) != 0
	runtime.KeepAlive(src)
	switch {
	case C.memory_refusals() != before:
		return badPixels(l.name, &kernelError{status: outOfMemory, text: cause.Error()})
	case unsupported:
		return unsupportedKind("This kind of "+displayName(l.name), cause)
	}
	return badPixels(l.name, cause)
}

// isLibheif119 reports whether the installed libheif is 1.19 or newer.
func isLibheif119() bool { return C.heif_is_at_least(1, 19) != 0 }
