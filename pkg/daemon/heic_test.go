package daemon_test

import (
	"encoding/base64"
	"encoding/binary"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// A red tile of 512 × 512 pixels, HEVC 4:2:0 of 8 bits, as `heif-enc -b 8` writes it: its
// configuration and its image.
const (
	hevcConfiguration = `AQNwAAAAAAAAAAAAWvAA/P34+AAADwMgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAWroCQCEAAQAsQgEBA3AAAAMAkAAAAwAAAwBaoAQCAIBZbqSSmubgQEDA
gAAAAwCAAAADAIQiAAEAB0QBwXKwYkA=`
	hevcPicture = `AAAA2CgBrxMQallhhZVS5TPAn//sSo//bnzw+7sGtUPRV3dJu78cjwbioAADzAAGKAAwgAAAAwL+ouR4NxUAACEAADFAAYQAAAMAAAMAAAMADliTAAC2AARY
AAADAAADAAADAAADAAADAHhAhwAAAwAAAwAAAwAAAwAAAwAAAwAAAwBlQAAAAwAAAwAAAwAAAwAAAwAAAwAAAwFvAAADAAADAAADAAADAAADAAADAABKwAAA
AwAAAwAAAwAAAwAAAwAAAwADMgAAAwAAAwAAAwAAAwAAAwAAAwAL6A==`
	hevcTile = 512
)

// phoneHEIC is a HEIC as phones write it: a grid of tiles.
func phoneHEIC(t *testing.T, width, height int) []byte {
	t.Helper()
	decode := func(s string) string {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	u16 := func(v int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(v))) }
	u32 := func(v int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(v))) }
	box := func(name, body string) string { return u32(8+len(body)) + name + body }
	columns, rows := (width+hevcTile-1)/hevcTile, (height+hevcTile-1)/hevcTile
	tiles := columns * rows
	grid := tiles + 1 // its item; the tiles are 1 to tiles
	picture := decode(hevcPicture)

	infos, locations, references, properties := "", "", "", ""
	for i := 1; i <= tiles; i++ {
		infos += box("infe", "\x02\x00\x00\x01"+u16(i)+"\x00\x00hvc1\x00")
		references += u16(i)
		properties += u16(i) + "\x02\x81\x02" // hvcC and the size of a tile
	}
	infos += box("infe", "\x02\x00\x00\x00"+u16(grid)+"\x00\x00grid\x00")
	properties += u16(grid) + "\x01\x03" // its own size
	description := "\x00\x00" + string([]byte{byte(rows - 1), byte(columns - 1)}) + u16(width) + u16(height)
	meta := func(data int) string {
		locations = ""
		for i := 1; i <= tiles; i++ { // all of them have the same bytes
			locations += u16(i) + "\x00\x00\x00\x00\x00\x01" + u32(data) + u32(len(picture))
		}
		locations += u16(grid) + "\x00\x01\x00\x00\x00\x01" + u32(0) + u32(len(description)) // in idat
		return box("ftyp", "heic\x00\x00\x00\x00mif1heic") + box("meta", u32(0)+
			box("hdlr", u32(0)+u32(0)+"pict"+string(make([]byte, 13)))+
			box("pitm", u32(0)+u16(grid))+
			box("iloc", "\x01\x00\x00\x00\x44\x00"+u16(tiles+1)+locations)+
			box("iinf", u32(0)+u16(tiles+1)+infos)+
			box("iref", u32(0)+box("dimg", u16(grid)+u16(tiles)+references))+
			box("iprp", box("ipco", box("hvcC", decode(hevcConfiguration))+
				box("ispe", u32(0)+u32(hevcTile)+u32(hevcTile))+box("ispe", u32(0)+u32(width)+u32(height)))+
				box("ipma", u32(0)+u32(tiles+1)+properties))+
			box("idat", description))
	}
	return []byte(meta(len(meta(0))+8) + box("mdat", picture))
}

// The largest photo of a phone needs no setting: 48 megapixels, as HEIC.
func TestPhotoOf48MegapixelsIsMadeByDefault(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Ladder.Widths = []int{64, 2048} })
	var m manifest.Manifest
	s.Upload(phoneHEIC(t, 8064, 6048)).Decode(t, &m, 201)
	if m.Width != 8064 || m.Height != 6048 || m.Source.Format != "heic" {
		t.Errorf("a %s of %d × %d", m.Source.Format, m.Width, m.Height)
	}
	const red = "#c82828"
	if m.Placeholder.Color[:3] != red[:3] {
		t.Errorf("color %s, want about %s", m.Placeholder.Color, red)
	}
}
