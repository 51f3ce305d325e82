// Package ladder is the arithmetic of responsive images: from a recipe and a
// source's size it computes the rungs with their names and sizes.
//
// It is pure: it does no I/O and imports nothing from this project, so that
// both sides of the codec boundary can share its types: a Recipe and Limits go
// in; a Source, Variants and a Summary come out, through a Sink.
package ladder

import (
	"encoding/hex"
)

// EngineVersion must be increased whenever a code change alters the bytes that
// the same settings produce, so that new bytes get new ids and URLs.
const EngineVersion = 4

// Format is an output format.
type Format string

// The output formats.
const (
	WebP Format = "webp"
	JPEG Format = "jpeg"
	AVIF Format = "avif"
)

var formats = []Format{WebP, JPEG, AVIF}

// Valid reports whether f is an output format.
func (f Format) Valid() bool { return f == WebP || f == JPEG || f == AVIF }

// Ext returns the file name extension, without a dot.
func (f Format) Ext() string {
	if f == JPEG {
		return "jpg"
	}
	return string(f)
}

// ContentType returns the media type.
func (f Format) ContentType() string { return "image/" + string(f) }

// MaxSide returns the largest width or height of the format, in pixels.
func (f Format) MaxSide() int {
	if f == JPEG {
		return 65500 // JPEG_MAX_DIMENSION of libjpeg
	}
	return MaxSide
}

// Fallback returns the next less efficient format, for browsers that do not
// support f; "" for JPEG, which every browser supports.
func (f Format) Fallback() Format {
	switch f {
	case AVIF:
		return WebP
	case WebP:
		return JPEG
	default:
		return ""
	}
}

// RGB is an opaque sRGB color, 8 bits per channel.
type RGB [3]uint8

// String returns the color in CSS notation, "#8a7f6e".
func (c RGB) String() string { return "#" + hex.EncodeToString(c[:]) }
