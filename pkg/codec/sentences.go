package codec

import (
	"regexp"
	"strings"
	"sync"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// sentences are the messages of package imaging about an image. A compromised
// child could say anything to a client, so only these are passed on. NUMBER,
// FORMAT and KIND are placeholders.
var sentences = []string{
	"The file is not a JPEG, PNG, WebP, GIF, HEIC, AVIF or TIFF image.",
	"KIND is not supported.",
	"This server cannot read FORMAT images.",
	"This server cannot write FORMAT images.",
	"The FORMAT image is damaged: its header cannot be read.",
	"The FORMAT image is damaged or truncated: its pixels cannot be decoded.",
	"Decoding this FORMAT image exceeded the memory limit.",
	"Decoding this FORMAT image would take about NUMBER MB of memory; the limit (limits.max_memory) is NUMBER MB.",
	"The animation has NUMBER frames; the limit is NUMBER.",
	"The image has NUMBER pixels (NUMBER × NUMBER); the limit is NUMBER.",
	"The image has NUMBER pixels (NUMBER × NUMBER in NUMBER frames); the limit is NUMBER.",
	"The frames of the image have NUMBER pixels; the limit is NUMBER.",
	"The process has too little memory left for this image.",
	"The stored image could not be read.",
	"The MADE could not be created.",
	"Creating the MADE exceeded the memory limit.",
	"The FORMAT image of NUMBER × NUMBER pixels was not encoded correctly.",
}

// kinds are the names used by imagefile.Unsupported.
var kinds = []string{
	"HDR (PQ)", "HDR (HLG)", "This kind of FORMAT", "Camera raw",
	"HEIF whose alpha is not transformed like its colors", "HEIF with rotated or cropped grid cells",
	"HEIF in limited-range gray", "HEIF in YCgCo or limited-range RGB", "HEIF with matrix coefficients NUMBER",
	"Lossless JPEG", "Hierarchical JPEG", "JPEG-LS", "JPEG with NUMBER bits per sample", "JPEG with NUMBER components",
	"JPEG with its height after the first scan",
	"TIFF that starts with a thumbnail", "TIFF with old-style JPEG", "TIFF with inks other than CMYK",
	"TIFF with samples of different sizes", "TIFF with samples of an unknown or complex type",
	"TIFF with PackBits runs across rows", "TIFF with signed samples", "TIFF with floating-point samples", "TIFF with photometric interpretation NUMBER",
	"TIFF (grayscale with associated alpha, 16 bits per sample, separate planes)", "TIFF (CIE Lab with associated alpha)",
	"TIFF (COLORS, NUMBER bits per sample, NUMBER+NUMBER samples, compression NUMBER)",
	"TIFF (COLORS, NUMBER bits per sample, NUMBER+NUMBER samples, compression NUMBER, separate planes)",
	"TIFF (COLORS, NUMBER bits per sample, NUMBER+NUMBER samples, compression NUMBER, tiles)",
	"TIFF (COLORS, NUMBER bits per sample, NUMBER+NUMBER samples, compression NUMBER, separate planes, tiles)",
}

// general are the messages that clients get in place of any other sentence.
var general = map[fault.Code]string{
	fault.UnsupportedFormat: "This kind of image is not supported.",
	fault.CorruptImage:      "The image is damaged or truncated.",
	fault.TooManyPixels:     "The image has too many pixels.",
	fault.TooManyFrames:     "The animation has too many frames.",
	fault.ProcessingFailed:  "Processing the image exceeded the memory limit.",
	fault.Internal:          "Internal error. See the server log for this request id.",
}

// maxSentence is the length of the longest text that is compared with them, in
// bytes.
const maxSentence = 400

// known is compiled when the first image fails: it uses a tenth of a megabyte.
var known = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile("^(?:" + strings.NewReplacer(
		"KIND", "(?:"+pattern(kinds)+")",
		"MADE", "(?:"+pattern([]string{"frames", "animation", "resized image", "preview of the image", "FORMAT image"})+")",
	).Replace(pattern(sentences)) + ")$")
})

// pattern returns a regular expression for any of the texts.
func pattern(texts []string) string {
	var quoted []string
	for _, text := range texts {
		quoted = append(quoted, strings.NewReplacer(
			"NUMBER", "[0-9]+",
			"FORMAT", "(?:JPEG|PNG|WebP|GIF|HEIC|AVIF|TIFF)",
			"COLORS", "(?:grayscale|RGB|palette|CMYK|YCbCr|CIE Lab)",
		).Replace(regexp.QuoteMeta(text)))
	}
	return strings.Join(quoted, "|")
}

// sentence returns what a client reads of a failure.
func sentence(f failure) string {
	if len(f.Detail) <= maxSentence && known().MatchString(f.Detail) {
		return f.Detail
	}
	return general[f.Code]
}
