package imagefile_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
)

func boxOf(name string, bodies ...string) string {
	body := strings.Join(bodies, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))) + name + body
}

// heifWith is the metadata of a file with two items of one color property each.
func heifWith(version byte, wide bool, primary byte, transfers [2]byte) string {
	colr := func(transfer byte) string {
		return boxOf("colr", "nclx\x00\x09\x00", string([]byte{transfer}), "\x00\x09\x80")
	}
	id := func(n byte) string {
		if version > 0 {
			return "\x00\x00\x00" + string([]byte{n})
		}
		return "\x00" + string([]byte{n})
	}
	flags, property := "\x00\x00\x00", func(n byte) string { return string([]byte{0x80 | n}) }
	if wide {
		flags, property = "\x00\x00\x01", func(n byte) string { return "\x80" + string([]byte{n}) }
	}
	ipma := boxOf("ipma", string([]byte{version}), flags, "\x00\x00\x00\x02",
		id(1), "\x02", property(1), property(2), id(2), "\x02", property(1), property(3))
	return boxOf("ftyp", "avif\x00\x00\x00\x00mif1") + boxOf("meta", "\x00\x00\x00\x00",
		boxOf("pitm", string([]byte{version}), "\x00\x00\x00", id(primary)),
		boxOf("iprp", boxOf("ipco", boxOf("ispe", "12345678"), colr(transfers[0]), colr(transfers[1])), ipma)) + boxOf("mdat", "...")
}

func TestHDRIsRefused(t *testing.T) {
	cicp := func(transfer byte) string {
		return "\x89PNG\r\n\x1a\n\x00\x00\x00\x04cICP\x09" + string([]byte{transfer}) + "\x00\x01----\x00\x00\x00\x00IEND----"
	}
	const sdr, pq, hlg = 13, 16, 18
	for name, test := range map[string]struct {
		format, file, want string
	}{
		"PNG, PQ":                     {imagefile.PNG, cicp(pq), "HDR (PQ)"},
		"PNG, HLG":                    {imagefile.PNG, cicp(hlg), "HDR (HLG)"},
		"PNG, SDR":                    {imagefile.PNG, cicp(sdr), ""},
		"AVIF, PQ":                    {imagefile.AVIF, heifWith(0, false, 1, [2]byte{pq, sdr}), "HDR (PQ)"},
		"AVIF, HLG, second item":      {imagefile.AVIF, heifWith(0, false, 2, [2]byte{sdr, hlg}), "HDR (HLG)"},
		"AVIF, SDR beside a gain map": {imagefile.AVIF, heifWith(0, false, 1, [2]byte{sdr, pq}), ""},
		"HEIC, PQ, wide":              {imagefile.HEIC, heifWith(1, true, 1, [2]byte{pq, sdr}), "HDR (PQ)"},
		"HEIC, SDR, wide":             {imagefile.HEIC, heifWith(1, true, 1, [2]byte{sdr, pq}), ""},
	} {
		_, err := imagefile.Inspect(strings.NewReader(test.file), int64(len(test.file)), test.format)
		var u *imagefile.Unsupported
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (!errors.As(err, &u) || u.Kind != test.want):
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// Full chroma takes the decoder more memory.
func TestChromaOfAVIF(t *testing.T) {
	for name, test := range map[string]struct {
		flags byte // of the decoder configuration
		want  bool
	}{
		"4:2:0":           {0x0C, false},
		"4:2:0, 10 bits":  {0x4C, false},
		"4:2:2":           {0x08, true},
		"4:4:4":           {0x00, true},
		"4:4:4, 12 bits":  {0x60, true},
		"monochrome":      {0x1C, false},
		"monochrome only": {0x10, false},
	} {
		config := boxOf("av1C", string([]byte{0x81, 0x05, test.flags, 0}))
		file := boxOf("ftyp", "avif\x00\x00\x00\x00mif1") + boxOf("meta", "\x00\x00\x00\x00",
			boxOf("iprp", boxOf("ipco", boxOf("ispe", "12345678"), config, boxOf("av1C", "\x81")))) + boxOf("mdat", "...")
		info, err := imagefile.Inspect(strings.NewReader(file), int64(len(file)), imagefile.AVIF)
		if err != nil || info.FullChroma != test.want {
			t.Errorf("%s: %v, %v, want %v", name, info.FullChroma, err, test.want)
		}
	}
}

func TestColorsOfHEIFByTheirCoding(t *testing.T) {
	hevc := func(chroma byte) string {
		return boxOf("hvcC", strings.Repeat("\x00", 16), string([]byte{0xFC | chroma}), "\xf8\xf8")
	}
	av1 := func(flags byte) string { return boxOf("av1C", string([]byte{0x81, 0x05, flags, 0})) }
	const full, limited = 0x80, 0
	for name, test := range map[string]struct {
		config    string
		matrix    byte
		colrRange byte
		refused   string
		modern    bool // needs a newer libheif
	}{
		"BT.709":                   {av1(0x0C), 1, limited, "", false},
		"BT.601":                   {hevc(1), 6, full, "", false},
		"unspecified":              {av1(0x0C), 2, full, "", false},
		"by its primaries":         {av1(0), 12, limited, "", false},
		"RGB":                      {av1(0), 0, full, "", false},
		"RGB, limited":             {av1(0), 0, limited, "", true},
		"YCgCo":                    {av1(0), 8, full, "", true},
		"reserved":                 {av1(0), 3, full, "HEIF with matrix coefficients 3", false},
		"constant luminance":       {hevc(1), 10, limited, "HEIF with matrix coefficients 10", false},
		"ICtCp":                    {av1(0x0C), 14, limited, "HEIF with matrix coefficients 14", false},
		"gray":                     {av1(0x1C), 2, full, "", false},
		"gray, limited":            {av1(0x1C), 6, limited, "HEIF in limited-range gray", false},
		"gray in HEVC":             {hevc(0), 6, full, "", false},
		"gray in HEVC, limited":    {hevc(0), 6, limited, "HEIF in limited-range gray", false},
		"gray, its matrix is void": {av1(0x1C), 8, full, "", false},
	} {
		colr := boxOf("colr", "nclx\x00\x01\x00\x0d\x00", string([]byte{test.matrix, test.colrRange}))
		ipma := boxOf("ipma", "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x03\x01\x82\x83")
		file := boxOf("ftyp", "avif\x00\x00\x00\x00mif1") + boxOf("meta", "\x00\x00\x00\x00",
			boxOf("pitm", "\x00\x00\x00\x00\x00\x01"), boxOf("iprp", boxOf("ipco", boxOf("ispe", "12345678"), test.config, colr), ipma)) + boxOf("mdat", "...")
		info, err := imagefile.Inspect(strings.NewReader(file), int64(len(file)), imagefile.AVIF)
		var u *imagefile.Unsupported
		switch {
		case test.refused != "" && (!errors.As(err, &u) || u.Kind != test.refused):
			t.Errorf("%s: %v, want %s", name, err, test.refused)
		case test.refused == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case info.NeedsLibheif119 != test.modern:
			t.Errorf("%s: needs a newer libheif: %v", name, info.NeedsLibheif119)
		}
	}
}
