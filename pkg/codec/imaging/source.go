package imaging

/*
#include "source.h"
*/
import "C"

import (
	"os"
	"runtime"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
)

func editOf(e *imagefile.Edit) C.Edit {
	return C.Edit{
		at:    C.gint64(e.At),
		bytes: [2]C.guchar{C.guchar(e.Bytes[0]), C.guchar(e.Bytes[1])},
		size:  C.gint64(e.Size),
	}
}

// jpegComplete returns an error for a JPEG that lacks more than the end marker
// that the edit adds.
func jpegComplete(f *os.File, e *imagefile.Edit) error {
	edit := editOf(e)
	defer runtime.KeepAlive(f)
	return try(func() C.int { return C.source_jpeg_check(C.int(f.Fd()), &edit) })
}
