package imaging

import (
	"bytes"
	"encoding/binary"
	"image/color"
	"path/filepath"
	"strings"
	"testing"
)

// tableProfile is an ICC profile (version 2, to Lab) whose only tables are those
// of the given names. They exchange red, green and blue cyclically, so that it
// shows whether the profile was used. wide tables have 16 bits, others 8.
func tableProfile(space string, wide bool, tables ...string) []byte {
	channels := map[string]int{"RGB ": 3, "CMYK": 4}[space]
	// Lab of the corners of RGB: what a pixel of RGB (r, g, b) is shown as, for
	// b, r, g.
	lab := func(r, g, b int) [3]float64 {
		return map[[3]int][3]float64{
			{0, 0, 0}: {0, 0, 0}, {1, 1, 1}: {100, 0, 0},
			{1, 0, 0}: {54.3, 80.8, 69.9}, {0, 1, 0}: {87.8, -79.3, 81.0}, {0, 0, 1}: {29.6, 68.3, -112.0},
			{1, 1, 0}: {97.6, -15.8, 93.4}, {0, 1, 1}: {90.7, -50.7, -14.9}, {1, 0, 1}: {60.2, 93.6, -60.5},
		}[[3]int{r, g, b}]
	}
	table := func() []byte {
		b := []byte("mft1\x00\x00\x00\x00")
		if wide {
			b = []byte("mft2\x00\x00\x00\x00")
		}
		b = append(b, byte(channels), 3, 2, 0) // 2 grid points
		for i := range 9 {
			v := uint32(0)
			if i%4 == 0 {
				v = 1 << 16
			}
			b = binary.BigEndian.AppendUint32(b, v)
		}
		number := func(v float64, most int) { // v from 0 to 1
			if wide {
				b = binary.BigEndian.AppendUint16(b, uint16(v*float64(most)))
			} else {
				b = append(b, byte(v*255))
			}
		}
		curves := func(n int) {
			for range n {
				if wide {
					number(0, 65535)
					number(1, 65535)
					continue
				}
				for i := range 256 {
					b = append(b, byte(i))
				}
			}
		}
		if wide {
			b = append(b, 0, 2, 0, 2)
		}
		curves(channels)
		for i := range 1 << channels {
			bit := func(n int) int { return i >> (channels - 1 - n) & 1 }
			r, g, bl := bit(0), bit(1), bit(2)
			if channels == 4 { // inks
				k := 1 - bit(3)
				r, g, bl = (1-r)*k, (1-g)*k, (1-bl)*k
			}
			v := lab(bl, r, g)
			number(v[0]/100, 0xFF00)
			number((v[1]+128)/255, 0xFF00)
			number((v[2]+128)/255, 0xFF00)
		}
		curves(3)
		return append(b, make([]byte, -len(b)&3)...)
	}
	description := []byte("desc\x00\x00\x00\x00\x00\x00\x00\x02x\x00" + strings.Repeat("\x00", 82))
	white := []byte("XYZ \x00\x00\x00\x00\x00\x00\xf6\xd6\x00\x01\x00\x00\x00\x00\xd3\x2d")
	copyright := []byte("text\x00\x00\x00\x00none\x00\x00\x00\x00")
	type tag struct {
		name string
		body []byte
	}
	tags := []tag{{"desc", description}, {"wtpt", white}, {"cprt", copyright}}
	for _, t := range tables {
		tags = append(tags, tag{t, table()})
	}
	head := make([]byte, 128)
	copy(head[4:], "none\x02\x40\x00\x00mntr"+space+"Lab \x07\xea\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00acsp")
	if space == "CMYK" {
		copy(head[12:], "prtr")
	}
	copy(head[68:], "\x00\x00\xf6\xd6\x00\x01\x00\x00\x00\x00\xd3\x2d")
	out := binary.BigEndian.AppendUint32(head, uint32(len(tags)))
	var bodies []byte
	for _, t := range tags {
		out = append(out, t.name...)
		out = binary.BigEndian.AppendUint32(out, uint32(128+4+12*len(tags)+len(bodies)))
		out = binary.BigEndian.AppendUint32(out, uint32(len(t.body)))
		bodies = append(bodies, t.body...)
		bodies = append(bodies, make([]byte, -len(bodies)&3)...)
	}
	out = append(out, bodies...)
	binary.BigEndian.PutUint32(out, uint32(len(out)))
	return out
}

// icc is a profile in a segment of a JPEG.
func icc(profile []byte) []byte {
	return segment(2, "ICC_PROFILE\x00\x01\x01", string(profile))
}

func TestProfileIsUsedByAnIntentThatItHas(t *testing.T) {
	full := [4]color.NRGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}, {255, 255, 255, 255}}
	turned := [4]color.NRGBA{{0, 255, 0, 255}, {0, 0, 255, 255}, {255, 0, 0, 255}, {255, 255, 255, 255}}
	var b bytes.Buffer
	writeJPEG(t, &b, full)
	for name, profile := range map[string][]byte{
		"perceptual":             tableProfile("RGB ", true, "A2B0"),
		"perceptual, 8 bits":     tableProfile("RGB ", false, "A2B0"),
		"relative":               tableProfile("RGB ", true, "A2B1"),
		"saturation":             tableProfile("RGB ", true, "A2B2"),
		"all but relative":       tableProfile("RGB ", true, "A2B0", "A2B2"),
		"all":                    tableProfile("RGB ", true, "A2B0", "A2B1", "A2B2"),
		"perceptual and 8 bits2": tableProfile("RGB ", false, "A2B0", "A2B2"),
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := render(t, file(t, "a.jpg", withSegments(b.Bytes(), icc(profile))), recipe(defaultFormats, tiffSide))
			wantQuarters(t, c, "40.jpg", turned, 40)
			for _, format := range []string{"png", "webp", "tif", "avif"} {
				out := filepath.Join(t.TempDir(), "a."+format)
				if name != "perceptual" { // by one is enough
					continue
				}
				args := []string{format + "save", file(t, "b.jpg", withSegments(b.Bytes(), icc(profile))), out}
				switch format {
				case "tif":
					args[0] = "tiffsave"
				case "avif":
					args[0] = "heifsave"
					args = append(args, "--compression", "av1")
				}
				vips(t, args...)
				c, _ := render(t, out, recipe(defaultFormats, tiffSide))
				wantQuarters(t, c, "40.jpg", turned, 40)
			}
		})
	}
}

func TestProfileOfCMYKIsUsedByAnIntentThatItHas(t *testing.T) {
	inks := [4][]float64{{0, 1, 1, 0}, {1, 0, 1, 0}, {1, 1, 0, 0}, {0, 0, 0, 0}} // red, green, blue, white
	f := tiffFile{photometric: 5, bits: 8, quarters: inks, order: binary.LittleEndian}
	plain := file(t, "plain.tif", f.bytes())
	profile := file(t, "cmyk.icc", tableProfile("CMYK", false, "A2B0"))
	turned := [4]color.NRGBA{{0, 255, 0, 255}, {0, 0, 255, 255}, {255, 0, 0, 255}, {255, 255, 255, 255}}
	for _, save := range []string{"jpegsave", "tiffsave"} {
		out := filepath.Join(t.TempDir(), "out."+save[:4])
		vips(t, save, plain, out, "--profile", profile)
		c, _ := render(t, out, recipe(defaultFormats, tiffSide))
		wantQuarters(t, c, "40.jpg", turned, 40)
	}
}
