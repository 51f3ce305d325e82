package imaging

import (
	"encoding/binary"
	"math"
)

// Layout of an ICC profile: a header of 128 bytes with the color space at 16,
// followed by a table of tags.
const (
	profileSpace  = 16
	profileHeader = 128
	tagEntry      = 12
)

// profileFits reports whether a profile's header matches the image's color
// bands; libvips checks the rest.
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

// matrixProfile is a profile that consists of three primaries and a curve for
// each.
type matrixProfile struct {
	primaries [3][3]float64 // XYZ of red, green and blue, adapted to D50
	curves    [3]curve
}

// curve maps device values to linear light, both 0 to 1.
type curve func(float64) float64

// parseMatrixProfile parses an ICC profile. It returns false for other kinds,
// such as profiles with a table that overrides the primaries.
func parseMatrixProfile(profile []byte) (m matrixProfile, ok bool) {
	if len(profile) < profileHeader+4 || string(profile[profileSpace:profileSpace+4]) != "RGB " {
		return m, false
	}
	tags := profileTags(profile)
	for _, table := range []string{"A2B0", "A2B1", "D2B0", "D2B1"} {
		if tags[table] != nil {
			return m, false
		}
	}
	for i, c := range []string{"r", "g", "b"} {
		tag := tags[c+"XYZ"]
		if len(tag) < 20 || string(tag[:4]) != "XYZ " {
			return m, false
		}
		for j := range m.primaries[i] {
			m.primaries[i][j] = fixed(tag[8+4*j:])
		}
		if m.curves[i] = parseCurve(tags[c+"TRC"]); m.curves[i] == nil {
			return m, false
		}
	}
	return m, true
}

// isSRGB reports whether a profile is equivalent to sRGB, so that a conversion
// would only cost time and rounding errors. It compares the numbers, since sRGB
// has many names and they are unreliable.
func isSRGB(profile []byte) bool {
	m, ok := parseMatrixProfile(profile)
	if !ok {
		return false
	}
	for i, primary := range m.primaries {
		for j, v := range primary {
			if math.Abs(v-srgbPrimaries[i][j]) > primaryTolerance {
				return false
			}
		}
		if !isSRGBCurve(m.curves[i]) {
			return false
		}
	}
	return true
}

// toLinearSRGB returns the matrix from linear light in the profile's primaries
// to linear sRGB.
func (m matrixProfile) toLinearSRGB() [3][3]float64 {
	inverse := inverted(srgbPrimaries)
	var out [3][3]float64
	for row := range 3 {
		for column := range 3 {
			for k := range 3 {
				out[row][column] += inverse[k][row] * m.primaries[column][k]
			}
		}
	}
	return out
}

// inverted returns the inverse of an invertible matrix.
func inverted(m [3][3]float64) [3][3]float64 {
	minor := func(row, column int) float64 {
		a, b, c, d := (row+1)%3, (row+2)%3, (column+1)%3, (column+2)%3
		return m[a][c]*m[b][d] - m[a][d]*m[b][c]
	}
	determinant := m[0][0]*minor(0, 0) + m[0][1]*minor(0, 1) + m[0][2]*minor(0, 2)
	var out [3][3]float64
	for row := range 3 {
		for column := range 3 {
			out[column][row] = minor(row, column) / determinant
		}
	}
	return out
}

// profileTags returns the tags of a profile; tags outside of it are skipped.
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

// srgbPrimaries are the primaries of sRGB adapted to D50, as in its own
// profile.
var srgbPrimaries = [3][3]float64{
	{0.43607, 0.22249, 0.01392},
	{0.38515, 0.71687, 0.09708},
	{0.14307, 0.06061, 0.71410},
}

// primaryTolerance allows for rounding and different adaptations, about half a
// step of 8 bits.
const primaryTolerance = 0.001

// isSRGBCurve compares a curve with sRGB's at 256 points.
func isSRGBCurve(c curve) bool {
	for i := range 256 {
		x := float64(i) / 255
		// Compare as displayed, with the curve undone.
		if math.Abs(srgbEncode(c(x))-x) > 0.6/255 {
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

// parseCurve parses a curve: a table, or the parametric form with a linear
// segment that sRGB uses. It returns nil for any other.
func parseCurve(tag []byte) curve {
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

// fixed parses a 16.16 fixed-point number.
func fixed(b []byte) float64 {
	return float64(int32(binary.BigEndian.Uint32(b))) / (1 << 16)
}
