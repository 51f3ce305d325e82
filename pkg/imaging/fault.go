package imaging

import (
	"fmt"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/imagefile"
)

// Every fault of a picture is made here, so that the sentences that clients
// read stand together. A decoder that fails has met a damaged file: the
// settings it runs with are ours and the same for all.

func unknownFormat() error {
	return fault.New(fault.UnsupportedFormat, "The file is not a JPEG, PNG, WebP, GIF, HEIC, AVIF or TIFF picture.")
}

func unsupportedKind(kind *imagefile.Unsupported) error {
	return fault.New(fault.UnsupportedFormat, "%s is not supported.", kind.Kind)
}

func noDecoder(format string) error {
	return fault.New(fault.UnsupportedFormat, "This server cannot read %s pictures.", shown(format))
}

func noEncoder(format string) error {
	return fault.New(fault.Internal, "This server cannot write %s pictures.", shown(format))
}

func badHeader(format string, cause error) error {
	return fault.Wrap(fault.CorruptImage, cause, "The %s picture is damaged: its header cannot be read.", shown(format))
}

func cutShort(format string) error {
	return fault.New(fault.CorruptImage, "The %s picture is cut short: a part of its pixels is missing.", shown(format))
}

// badPixels is the fault of a decoder that failed. When it was refused memory,
// that is the one thing that only its text tells.
func badPixels(format string, cause error) error {
	if outOfMemory(cause) {
		return fault.Wrap(fault.ProcessingFailed, cause, "Decoding this %s picture takes more memory than it may.", shown(format))
	}
	return fault.Wrap(fault.CorruptImage, cause, "The %s picture is damaged or cut short: its pixels cannot be read.", shown(format))
}

func outOfMemory(cause error) bool {
	return strings.Contains(strings.ToLower(cause.Error()), "memory")
}

func tooManyFrames(h header, limit int) error {
	return fault.New(fault.TooManyFrames, "The animation has %d frames; the limit is %d.", h.frames, limit)
}

func tooManyPixels(h header, limit int64) error {
	size := fmt.Sprintf("%d × %d", h.width, h.height)
	if h.frames > 1 {
		size += fmt.Sprintf(" in %d frames", h.frames)
	}
	pixels := int64(h.width) * int64(h.height) * int64(h.frames)
	return fault.New(fault.TooManyPixels, "The picture has %d pixels (%s); the limit is %d.", pixels, size, limit)
}

func tooMuchMemory(h header, estimate, limit int64) error {
	return fault.New(fault.TooManyPixels, "Decoding this %s picture would take about %d MB of memory; the limit is %d MB.",
		shown(h.format), megabytes(estimate), megabytes(limit))
}

func unreadable(cause error) error {
	return fault.Wrap(fault.Internal, cause, "The stored picture could not be read.")
}

func notMade(what string, cause error) error {
	if outOfMemory(cause) {
		return fault.Wrap(fault.ProcessingFailed, cause, "Making the %s takes more memory than it may.", what)
	}
	return fault.Wrap(fault.Internal, cause, "The %s could not be made.", what)
}

// shown is a format's name as people write it.
func shown(format string) string {
	if format == "webp" {
		return "WebP"
	}
	return strings.ToUpper(format)
}

func megabytes(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }
