package imaging

/*
#include "source.h"
*/
import "C"

import (
	"os"
	"runtime"

	"github.com/optimizerd/optimizerd/pkg/imagefile"
)

func editOf(e *imagefile.Edit) C.Edit {
	return C.Edit{
		at:    C.gint64(e.At),
		bytes: [2]C.guchar{C.guchar(e.Bytes[0]), C.guchar(e.Bytes[1])},
		size:  C.gint64(e.Size),
	}
}

// jpegIsComplete reports whether a JPEG lacks nothing but its end marker, which
// the edit adds.
func jpegIsComplete(f *os.File, e *imagefile.Edit) bool {
	edit := editOf(e)
	complete := C.source_jpeg_is_complete(C.int(f.Fd()), &edit) != 0
	runtime.KeepAlive(f)
	return complete
}
