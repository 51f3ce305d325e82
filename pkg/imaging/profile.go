package imaging

import (
	"encoding/binary"
	"math"
)

// The parts of an ICC profile that are read here: a header of 128 bytes with
// the colour space at 16, then a table of tags.
const (
	profileSpace  = 16
	profileHeader = 128
	tagEntry      = 12
)

// profileFits reports whether a profile is for pictures with as many colours,
// as far as its header tells; libvips looks at the rest.
func profileFits(profile []byte, bands int, cmyk bool) bool {
	if len(profile) < profileHeader+4 {
		return false
	}
	switch string(profile[profileSpace : profileSpace+4]) {
	case "GRAY":
		return bands < 3
	case "CMYK":
		return cmyk
	case "RGB ":
		return bands >= 3 && !cmyk
	default:
		return false
	}
}

// isSRGB reports whether a profile says no more than what holds without one,
// so that converting by it would cost time and rounding for nothing. It goes
// by the numbers, since sRGB comes under many names and the names lie: the
// three primaries, and the three curves, and no table that would overrule
// them.
func isSRGB(profile []byte) bool {
	if len(profile) < profileHeader+4 || string(profile[profileSpace:profileSpace+4]) != "RGB " {
		return false
	}
	tags := profileTags(profile)
	for name := range tags {
		if name == "A2B0" || name == "A2B1" || name == "D2B0" || name == "D2B1" {
			return false
		}
	}
	for name, want := range srgbPrimaries {
		if !isXYZ(tags[name], want) {
			return false
		}
	}
	return isSRGBCurve(tags["rTRC"]) && isSRGBCurve(tags["gTRC"]) && isSRGBCurve(tags["bTRC"])
}

// profileTags cuts a profile up; tags that lie outside it are left out.
func profileTags(profile []byte) map[string][]byte {
	tags := make(map[string][]byte)
	count := int(binary.BigEndian.Uint32(profile[profileHeader:]))
	for i := range min(count, len(profile)/tagEntry) {
		at := profileHeader + 4 + i*tagEntry
		if at+tagEntry > len(profile) {
			break
		}
		start := uint64(binary.BigEndian.Uint32(profile[at+4:]))
		end := start + uint64(binary.BigEndian.Uint32(profile[at+8:]))
		if end <= uint64(len(profile)) {
			tags[string(profile[at:at+4])] = profile[start:end]
		}
	}
	return tags
}

// srgbPrimaries are the primaries of sRGB adapted to D50, as profiles hold
// them.
var srgbPrimaries = map[string][3]float64{
	"rXYZ": {0.4361, 0.2225, 0.0139},
	"gXYZ": {0.3851, 0.7169, 0.0971},
	"bXYZ": {0.1431, 0.0606, 0.7141},
}

// primaryTolerance lets through what rounding and the choice of adaptation do
// to the numbers, about half a step of 8 bits.
const primaryTolerance = 0.001

func isXYZ(tag []byte, want [3]float64) bool {
	if len(tag) < 20 || string(tag[:4]) != "XYZ " {
		return false
	}
	for i, w := range want {
		if math.Abs(fixed(tag[8+4*i:])-w) > primaryTolerance {
			return false
		}
	}
	return true
}

// isSRGBCurve holds a curve against that of sRGB at as many points as 8 bits
// have.
func isSRGBCurve(tag []byte) bool {
	curve := parseCurve(tag)
	if curve == nil {
		return false
	}
	for i := range 256 {
		x := float64(i) / 255
		// What counts is the distance as seen, after the curve is undone.
		if math.Abs(srgbEncode(curve(x))-x) > 0.6/255 {
			return false
		}
	}
	return true
}

func srgbEncode(linear float64) float64 {
	if linear <= 0.0031308 {
		return 12.92 * linear
	}
	return 1.055*math.Pow(linear, 1/2.4) - 0.055
}

// parseCurve reads a curve from device values to linear light, both 0 to 1:
// a table, or the parametric form with a linear foot that sRGB has. nil is
// any other.
func parseCurve(tag []byte) func(float64) float64 {
	if len(tag) < 12 {
		return nil
	}
	switch string(tag[:4]) {
	case "curv":
		n := int(binary.BigEndian.Uint32(tag[8:]))
		if n < 2 || n > (len(tag)-12)/2 {
			return nil
		}
		return func(x float64) float64 {
			at := x * float64(n-1)
			i := min(int(at), n-2)
			low := float64(binary.BigEndian.Uint16(tag[12+2*i:]))
			high := float64(binary.BigEndian.Uint16(tag[14+2*i:]))
			return (low + (high-low)*(at-float64(i))) / math.MaxUint16
		}
	case "para":
		if binary.BigEndian.Uint16(tag[8:]) != 3 || len(tag) < 32 {
			return nil
		}
		g, a, b, c, d := fixed(tag[12:]), fixed(tag[16:]), fixed(tag[20:]), fixed(tag[24:]), fixed(tag[28:])
		return func(x float64) float64 {
			if x >= d {
				return math.Pow(a*x+b, g)
			}
			return c * x
		}
	default:
		return nil
	}
}

// fixed reads a number of 16 bits before and 16 after the point.
func fixed(b []byte) float64 {
	return float64(int32(binary.BigEndian.Uint32(b))) / (1 << 16)
}
