package imagefile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/codec/imagefile"
)

// heifWithAlpha is a file with an image and its alpha, which have transforms:
// properties of the file by their places, from 4 on.
func heifWithAlpha(version byte, wide bool, urn string, transforms []string, colors, alpha string) string {
	id := func(n byte) string {
		if version > 0 {
			return "\x00\x00\x00" + string([]byte{n})
		}
		return "\x00" + string([]byte{n})
	}
	flags := "\x00\x00\x00"
	item := func(n byte, properties string) string {
		text := id(n) + string([]byte{byte(len(properties))})
		for _, p := range []byte(properties) {
			if wide {
				text += "\x80" + string([]byte{p})
			} else {
				text += string([]byte{0x80 | p})
			}
		}
		return text
	}
	if wide {
		flags = "\x00\x00\x01"
	}
	container := boxOf("ispe", "12345678") + boxOf("av1C", "\x81\x00\x0c\x00") + boxOf("auxC", "\x00\x00\x00\x00"+urn+"\x00") + strings.Join(transforms, "")
	return boxOf("ftyp", "avif\x00\x00\x00\x00mif1") + boxOf("meta", "\x00\x00\x00\x00",
		boxOf("pitm", string([]byte{version}), "\x00\x00\x00", id(1)),
		boxOf("iref", string([]byte{version}), "\x00\x00\x00", boxOf("auxl", id(2), "\x00\x01", id(1))),
		boxOf("iprp", boxOf("ipco", container), boxOf("ipma", string([]byte{version}), flags, "\x00\x00\x00\x02",
			item(1, "\x01\x02"+colors), item(2, "\x01\x02\x03"+alpha)))) + boxOf("mdat", "...")
}

func TestPremultipliedAlphaOfHEIFIsSeen(t *testing.T) {
	plain := heifWithAlpha(0, false, "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", nil, "", "")
	auxl := boxOf("auxl", "\x00\x02\x00\x01\x00\x01")
	prem := strings.Replace(plain, auxl, auxl+boxOf("prem", "\x00\x01\x00\x01\x00\x02"), 1)
	// Its boxes are larger by that much.
	for _, name := range []string{"meta", "iref"} {
		at := strings.Index(prem, name) - 1
		prem = prem[:at] + string([]byte{prem[at] + 14}) + prem[at+1:]
	}
	for file, want := range map[string]bool{plain: false, prem: true} {
		info, err := imagefile.Inspect(strings.NewReader(file), int64(len(file)), imagefile.AVIF)
		if err != nil || info.Premultiplied != want {
			t.Errorf("premultiplied: %v, want %v (%v)", info.Premultiplied, want, err)
		}
	}
}

func TestTurnsOfColorsWithoutTheirAlpha(t *testing.T) {
	const alpha = "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"
	turn := func(quarters string) string { return boxOf("irot", quarters) }
	mirror := func(axis string) string { return boxOf("imir", axis) }
	one, both := []string{turn("\x01")}, []string{turn("\x01"), mirror("\x00")}
	for name, test := range map[string]struct {
		file        string
		orientation int // 1 for a file that is left as it is
		refused     bool
		removed     string // the associations that the edit makes none
	}{
		"turned":                    {heifWithAlpha(0, false, alpha, one, "\x04", ""), 8, false, "\x84"},
		"turned, HEVC's alpha":      {heifWithAlpha(1, false, "urn:mpeg:hevc:2015:auxid:1", one, "\x04", ""), 8, false, "\x84"},
		"turned, wide":              {heifWithAlpha(1, true, alpha, one, "\x04", ""), 8, false, "\x80\x04"},
		"turned by half":            {heifWithAlpha(0, false, alpha, []string{turn("\x02")}, "\x04", ""), 3, false, "\x84"},
		"turned by three quarters":  {heifWithAlpha(0, false, alpha, []string{turn("\x03")}, "\x04", ""), 6, false, "\x84"},
		"mirrored top to bottom":    {heifWithAlpha(0, false, alpha, []string{mirror("\x00")}, "\x04", ""), 4, false, "\x84"},
		"mirrored left to right":    {heifWithAlpha(0, false, alpha, []string{mirror("\x01")}, "\x04", ""), 2, false, "\x84"},
		"turned and mirrored":       {heifWithAlpha(0, false, alpha, both, "\x04\x05", ""), 5, false, "\x84\x85"},
		"mirrored and turned":       {heifWithAlpha(0, false, alpha, both, "\x05\x04", ""), 7, false, "\x85\x84"},
		"two transforms, wide":      {heifWithAlpha(0, true, alpha, both, "\x04\x05", ""), 1, true, ""},
		"cropped":                   {heifWithAlpha(0, false, alpha, []string{boxOf("clap", "12345678")}, "\x04", ""), 1, true, ""},
		"the alpha alone is turned": {heifWithAlpha(0, false, alpha, one, "", "\x04"), 1, true, ""},
		"turned both":               {heifWithAlpha(0, false, alpha, one, "\x04", "\x04"), 1, false, ""},
		"a depth map, not alpha":    {heifWithAlpha(0, false, "urn:mpeg:hevc:2015:auxid:2", one, "\x04", ""), 1, false, ""},
		"not turned":                {heifWithAlpha(0, false, alpha, nil, "", ""), 1, false, ""},
	} {
		info, err := imagefile.Inspect(strings.NewReader(test.file), int64(len(test.file)), imagefile.AVIF)
		if refused := errors.As(err, new(*imagefile.Unsupported)); refused != test.refused || err != nil && !refused {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info.Orientation != test.orientation || (info.Edit != nil) != (test.removed != "") {
			t.Errorf("%s: orientation %d, want %d; %+v", name, info.Orientation, test.orientation, info.Edit)
			continue
		}
		if e := info.Edit; e != nil {
			got := test.file[:e.At] + string(e.Bytes[:]) + test.file[e.At+2:]
			if want := strings.Replace(test.file, test.removed, strings.Repeat("\x00", len(test.removed)), 1); got != want || e.Size != int64(len(got)) {
				t.Errorf("%s: the file reads %q, want %q", name, got, want)
			}
		}
	}
}

// avifenc 0.11 writes the turn of a grid with each of its cells, too.
func TestGridsWhoseCellsAreTurnedAreRefused(t *testing.T) {
	grid := func(turn, cell string) string {
		container := boxOf("ispe", "12345678") + boxOf("av1C", "\x81\x00\x0c\x00") + boxOf("irot", turn)
		return boxOf("ftyp", "avif\x00\x00\x00\x00mif1") + boxOf("meta", "\x00\x00\x00\x00",
			boxOf("pitm", "\x00\x00\x00\x00\x00\x01"),
			boxOf("iref", "\x00\x00\x00\x00", boxOf("dimg", "\x00\x01\x00\x02\x00\x02\x00\x03")),
			boxOf("iprp", boxOf("ipco", container), boxOf("ipma", "\x00\x00\x00\x00\x00\x00\x00\x03",
				"\x00\x01\x02\x01\x83", "\x00\x02\x02\x01\x02", "\x00\x03", cell))) + boxOf("mdat", "...")
	}
	for name, test := range map[string]struct {
		file    string
		refused bool
	}{
		"the grid is turned":       {grid("\x01", "\x02\x01\x02"), false},
		"a cell is turned, too":    {grid("\x01", "\x03\x01\x02\x83"), true},
		"turned by nothing":        {grid("\x00", "\x03\x01\x02\x83"), false},
		"a cell without a list":    {grid("\x01", ""), false},
		"a list that is cut short": {grid("\x01", "\x09\x01"), false},
	} {
		_, err := imagefile.Inspect(strings.NewReader(test.file), int64(len(test.file)), imagefile.AVIF)
		if got := errors.As(err, new(*imagefile.Unsupported)); got != test.refused {
			t.Errorf("%s: refused: %v, want %v (%v)", name, got, test.refused, err)
		}
	}
}
