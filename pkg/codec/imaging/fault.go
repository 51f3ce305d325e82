package imaging

import (
	"fmt"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// All faults about images are created here, so that the texts that clients read
// are in one place. If a decoder fails, the file is damaged: its settings are
// ours and always the same.

func unknownFormat() error {
	return fault.New(fault.UnsupportedFormat, "The file is not a JPEG, PNG, WebP, GIF, HEIC, AVIF or TIFF image.")
}

// unsupportedKind returns the fault of an intact file of an unsupported kind; cause
// is the decoder's error, nil if it was not called.
func unsupportedKind(kind string, cause error) error {
	return fault.Wrap(fault.UnsupportedFormat, cause, "%s is not supported.", kind)
}

func noDecoder(format string) error {
	return fault.New(fault.UnsupportedFormat, "This server cannot read %s images.", displayName(format))
}

func noEncoder(format string) error {
	return fault.New(fault.Internal, "This server cannot write %s images.", displayName(format))
}

func badHeader(format string, cause error) error {
	if ranOutOfMemory(cause) {
		return badPixels(format, cause)
	}
	return fault.Wrap(fault.CorruptImage, cause, "The %s image is damaged: its header cannot be read.", displayName(format))
}

// badPixels returns the fault for a failed decoder.
func badPixels(format string, cause error) error {
	if ranOutOfMemory(cause) {
		return fault.Wrap(fault.ProcessingFailed, cause, "Decoding this %s image exceeded the memory limit.", displayName(format))
	}
	return fault.Wrap(fault.CorruptImage, cause, "The %s image is damaged or truncated: its pixels cannot be decoded.", displayName(format))
}

// noRoom returns the fault of a process in which earlier images left too little
// memory for this one. A fresh process has enough.
func noRoom() error {
	return fault.New(fault.Unavailable, "The process has too little memory left for this image.")
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
	return fault.New(fault.TooManyPixels, "The image has %d pixels (%s); the limit is %d.", pixels, size, limit)
}

func tooMuchMemory(h header, estimate, limit int64) error {
	return fault.New(fault.TooManyPixels, "Decoding this %s image would take about %d MB of memory; the limit (limits.max_memory) is %d MB.",
		displayName(h.format), megabytes(estimate), megabytes(limit))
}

func readFault(cause error) error {
	return fault.Wrap(fault.Internal, cause, "The stored image could not be read.")
}

func createFault(what string, cause error) error {
	if ranOutOfMemory(cause) {
		return fault.Wrap(fault.ProcessingFailed, cause, "Creating the %s exceeded the memory limit.", what)
	}
	return fault.Wrap(fault.Internal, cause, "The %s could not be created.", what)
}

// wrongFile returns the fault of a file that does not show the encoded image. The
// encoder or the memory of this process is broken, and another may succeed.
func wrongFile(f ladder.Format, size ladder.Rung, cause error) error {
	return fault.Wrap(fault.ProcessingFailed, cause, "The %s image of %d × %d pixels was not encoded correctly.",
		displayName(string(f)), size.Width, size.Height)
}

// displayName returns the usual spelling of a format.
func displayName(format string) string {
	if format == "webp" {
		return "WebP"
	}
	return strings.ToUpper(format)
}

func megabytes(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }
