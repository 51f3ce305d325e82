package daemon_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

// mostMemory is what the daemon and its children may take together, and
// mostForAPhoto what they may take for the largest that is allowed.
const (
	mostMemory    = 512 << 20
	mostForAPhoto = 400 << 20
)

// bomb is a file that is made to cost far more than its bytes.
type bomb struct {
	name  string
	data  []byte
	codes []string // any of these; "made" is a ladder
}

func TestChaosBombs(t *testing.T) {
	t.Parallel()
	p := daemontest.StartProcess(t)
	p.CheckServes() // warms it up
	tooMany, corrupt, made := "too_many_pixels", "corrupt_image", "made"
	zeros := inflated(t, 64<<20)
	bombs := []bomb{
		{"PNG that claims 2^31-1 a side", pngOf(pngHeader(0x7fffffff, 0x7fffffff, 8, 2, 0), nil), []string{corrupt, tooMany}},
		{"PNG, interlaced, 9000 × 9000 of 16 bits", pngOf(pngHeader(9000, 9000, 16, 6, 1), make([]byte, 100)), []string{tooMany}},
		{"PNG with a profile that inflates to 64 MiB", pngWith(t, "iCCP", "p\x00\x00", zeros), []string{made, corrupt}},
		{"PNG with a text that inflates to 64 MiB", pngWith(t, "zTXt", "p\x00\x00", zeros), []string{made, corrupt}},
		{"PNG with a profile that inflates twice", pngWith(t, "iCCP", "p\x00\x00", deflated(t, zeros)), []string{made, corrupt}},
		{"PNG with pixels that inflate to 64 MiB more", pngOf(pngHeader(100, 100, 8, 0, 0), zeros), []string{made, corrupt}},
		{"GIF of 5000 frames", sparseGIF(t, 64, 64, 5000), []string{"too_many_frames"}},
		{"GIF of 400 frames on 2000 × 2000", sparseGIF(t, 2000, 2000, 400), []string{tooMany}},
		{"GIF of 400 frames on 500 × 500, the pixels of the limit", sparseGIF(t, 500, 500, 400), []string{made, tooMany, "processing_failed"}},
		{"GIF of one frame on 9999 × 9999", sparseGIF(t, 9999, 9999, 1), []string{made, tooMany, corrupt}},
		{"WebP of 5000 frames", sparseWebP(64, 64, 5000), []string{"too_many_frames"}},
		{"WebP of 400 frames on 16383 × 16383", sparseWebP(16383, 16383, 400), []string{tooMany, corrupt}},
		{"WebP of 400 frames on 500 × 500, the pixels of the limit", sparseWebP(500, 500, 400), []string{made, tooMany, corrupt, "processing_failed"}},
		{"WebP of 2 frames on 7000 × 7000", sparseWebP(7000, 7000, 2), []string{made, tooMany, corrupt}},
		{"AVIF that claims 16000 × 16000", avifSized(t, 16000, 16000), []string{tooMany, corrupt}},
		{"AVIF that claims 9999 × 9999", avifSized(t, 9999, 9999), []string{tooMany, corrupt}},
		{"AVIF that claims 4000 × 4000", avifSized(t, 4000, 4000), []string{made, corrupt, "unsupported_format"}},
		{"AVIF of 16000 × 16000, in a grid of one tile", avifGrid(t, 250, 250, 16000, 16000), []string{tooMany, corrupt}},
		{"AVIF of 9600 × 9600, in a grid of one tile", avifGrid(t, 150, 150, 9600, 9600), []string{tooMany, corrupt}},
		{"JPEG of 65500 × 65500", withJPEGSize(t, daemontest.BimgImage(t, "test.jpg"), 65500, 65500), []string{tooMany}},
	}
	if *chaos.all {
		zeros := inflated(t, 1<<30)
		bombs = append(bombs, []bomb{
			{"PNG of 30000 × 30000", pngBomb(t, 30000, 30000), []string{tooMany}},
			{"PNG with a profile that inflates to 1 GiB", pngWith(t, "iCCP", "p\x00\x00", zeros), []string{made, corrupt}},
			{"PNG with a text that inflates to 1 GiB", pngWith(t, "zTXt", "p\x00\x00", zeros), []string{made, corrupt}},
			{"PNG with pixels that inflate to 1 GiB more", pngOf(pngHeader(100, 100, 8, 0, 0), zeros), []string{made, corrupt, "processing_failed"}},
		}...)
	}
	for _, b := range append(bombs, lyingTIFFs(t)...) {
		explode(p, b)
	}
	if *chaos.folder != "" {
		entries, err := os.ReadDir(*chaos.folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			any := []string{made, tooMany, corrupt, "unsupported_format", "too_many_frames"}
			explode(p, bomb{"file " + e.Name(), daemontest.ReadFile(t, filepath.Join(*chaos.folder, e.Name())), any})
		}
	}
	p.CheckServes()
	p.CheckNothingLeft()
}

// Whether the header or the codec's limits stop these depends on the release
// of libheif and libjpeg. Either way they cost one refusal, and the second time
// nothing at all.
func TestChaosBombsThatTheHeaderDoesNotShow(t *testing.T) {
	t.Parallel()
	scans := flatJPEG{width: 5000, height: 5000, sampling: []byte{0x11}, progressive: true, repeats: 3000}
	for _, b := range []bomb{
		{"AVIF of 5120 × 5120, in a grid of one tile, codec.timeout=1s", avifGrid(t, 80, 80, 5120, 5120), nil},
		{"JPEG of 25 MP in 3000 scans, codec.timeout=1s", scans.encode(), nil},
	} {
		b.codes = []string{"processing_failed", "corrupt_image", "too_many_pixels"}
		p := daemontest.StartProcess(t, "codec.timeout=1s")
		most := explode(p, b)
		if most.Children > 256<<20 {
			t.Errorf("%s: the codec took %.0f MiB, want at most 256", b.name, daemontest.MiB(most.Children))
		}
		crashes := p.Metric("optimizerd_codec_crashes_total")
		least, bad := 0.0, 0
		if most.verdict == "processing_failed" { // the verdict of two children
			least, bad = 2, 1
		}
		if a, err := p.TryUpload(b.data); err != nil || a.Code() != most.verdict {
			t.Errorf("%s, again: got %v, %v; want %s as before", b.name, a.Response, err, most.verdict)
		}
		// On a busy machine, one that only had to refuse it may have run out of time, too.
		again := p.Metric("optimizerd_codec_crashes_total")
		if crashes < least || crashes > max(least, 1) || bad > 0 && again != crashes || len(p.Quarantined()) != bad {
			t.Errorf("%s: %v codec processes died of it, then %v in all, %d images are in quarantine; want %v or one more, and %d",
				b.name, crashes, again, len(p.Quarantined()), least, bad)
		}
		p.CheckServes()
		p.CheckNothingLeft()
	}
}

// outcome is what a bomb was answered, and the memory that it took.
type outcome struct {
	daemontest.Peak
	verdict string
}

// explode uploads a bomb, and holds the answer and the memory against what they
// may be.
func explode(p *daemontest.Process, b bomb) outcome {
	p.T.Helper()
	stop := p.Watch()
	began := time.Now()
	a, err := p.TryUpload(b.data)
	took, peak := time.Since(began), stop()
	if err != nil {
		p.T.Fatalf("%s: %v", b.name, err)
	}
	verdict, err := a.Verdict()
	if err != nil {
		p.T.Errorf("%s: %v", b.name, err)
	}
	if !slices.Contains(b.codes, verdict) {
		p.T.Errorf("%s: got %s %s, want one of %v", b.name, a.Status, a.Body, b.codes)
	}
	if peak.Sum > mostMemory {
		p.T.Errorf("%s: daemon and codec took %.0f MiB, want at most %.0f", b.name, daemontest.MiB(peak.Sum), daemontest.MiB(mostMemory))
	}
	if a.StatusCode < 300 {
		m, err := p.CheckSet(a, b.data)
		if err == nil {
			err = p.Delete(m.ID)
		}
		if err != nil {
			p.T.Errorf("%s: %v", b.name, err)
		}
	}
	p.CheckNothingLeft()
	figure(p.T, b.name, "%d bytes: %s in %.2f s, daemon %.0f + codec %.0f MiB", len(b.data), verdict, took.Seconds(), daemontest.MiB(peak.Daemon), daemontest.MiB(peak.Children))
	return outcome{peak, verdict}
}

func TestChaosPhotosOfAHundredMegapixels(t *testing.T) {
	t.Parallel()
	p := daemontest.StartProcess(t) // all else as it is by default
	p.CheckServes()
	gray, halfChroma, fullChroma := []byte{0x11}, []byte{0x22, 0x11, 0x11}, []byte{0x11, 0x11, 0x11}
	photos := []bomb{
		{name: "baseline JPEG of 100 MP", data: flatJPEG{width: 10000, height: 10000, sampling: halfChroma}.encode()},
		{name: "progressive JPEG of 100 MP", data: flatJPEG{width: 10000, height: 10000, sampling: halfChroma, progressive: true}.encode()},
	}
	if *chaos.all {
		photos = append(photos, []bomb{
			{name: "baseline JPEG of 100 MP, gray", data: flatJPEG{width: 10000, height: 10000, sampling: gray}.encode()},
			{name: "progressive JPEG of 100 MP, gray", data: flatJPEG{width: 10000, height: 10000, sampling: gray, progressive: true}.encode()},
			{name: "progressive JPEG of 80 MP", data: flatJPEG{width: 10000, height: 8000, sampling: halfChroma, progressive: true}.encode()},
			{name: "progressive JPEG of 50 MP, full chroma", data: flatJPEG{width: 10000, height: 5000, sampling: fullChroma, progressive: true}.encode()},
		}...)
	}
	for _, b := range photos {
		b.codes = []string{"made", "too_many_pixels"}
		most := explode(p, b)
		if most.Sum > mostForAPhoto {
			t.Errorf("%s: daemon and codec took %.0f MiB, want at most %.0f", b.name, daemontest.MiB(most.Sum), daemontest.MiB(mostForAPhoto))
		}
	}
}

// pngOf is a PNG of this header and compressed data.
func pngOf(header, data []byte) []byte {
	b := append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", header)...)
	b = append(b, pngChunk("IDAT", data)...)
	return append(b, pngChunk("IEND", nil)...)
}

// pngWith is a good PNG with one more chunk.
func pngWith(t *testing.T, chunk, prefix string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, gradient(40, 30)); err != nil {
		t.Fatal(err)
	}
	const headerEnd = 8 + 12 + 13
	return slices.Insert(b.Bytes(), headerEnd, pngChunk(chunk, append([]byte(prefix), data...))...)
}

// inflated is what inflates to so many zeros.
func inflated(t *testing.T, size int) []byte {
	t.Helper()
	return deflated(t, make([]byte, size))
}

func deflated(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, zlib.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sparseGIF has frames of one pixel on a canvas that the first one fills.
func sparseGIF(t *testing.T, width, height, frames int) []byte {
	t.Helper()
	palette := color.Palette{color.White, color.Black}
	first, dot := image.NewPaletted(image.Rect(0, 0, width, height), palette), image.NewPaletted(image.Rect(0, 0, 1, 1), palette)
	g := &gif.GIF{Image: []*image.Paletted{first}, Delay: []int{2}, Config: image.Config{ColorModel: palette, Width: width, Height: height}}
	for range frames - 1 {
		g.Image, g.Delay = append(g.Image, dot), append(g.Delay, 2)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sparseWebP has frames of four pixels on a canvas of any size.
func sparseWebP(width, height, frames int) []byte {
	dot := []byte("VP8L\x0e\x00\x00\x00\x2f\x01\x40\x00\x00\x07\x10\x11\xfd\x0f\x44\x44\xff\x03") // 2 × 2 black pixels
	le24 := func(b []byte, n int) []byte { return append(b, byte(n), byte(n>>8), byte(n>>16)) }
	chunk := func(b []byte, name string, data []byte) []byte {
		return append(binary.LittleEndian.AppendUint32(append(b, name...), uint32(len(data))), data...)
	}
	frame := make([]byte, 6)                                    // at the corner
	frame = le24(le24(frame, 1), 1)                             // 2 × 2
	frame = append(append(le24(frame, 20), 0), dot...)          // for 20 ms
	canvas := le24(le24([]byte{2, 0, 0, 0}, width-1), height-1) // 2 is an animation
	b := chunk([]byte("WEBP"), "VP8X", canvas)
	b = chunk(b, "ANIM", make([]byte, 6))
	for range frames {
		b = chunk(b, "ANMF", frame)
	}
	return chunk(nil, "RIFF", b)
}

// avifSized is a small AVIF with another size in its header.
func avifSized(t *testing.T, width, height uint32) []byte {
	t.Helper()
	b := daemontest.ReadFile(t, filepath.Join("..", "codec", "imaging", "samples", "avif"))
	at := bytes.Index(b, []byte("ispe"))
	if at < 0 {
		t.Fatal("the AVIF has no size")
	}
	binary.BigEndian.PutUint32(b[at+8:], width)
	binary.BigEndian.PutUint32(b[at+12:], height)
	return b
}

// avifGrid is one tile of 64 × 64, repeated in a grid.
func avifGrid(t *testing.T, columns, rows int, width, height uint32) []byte {
	t.Helper()
	sample := daemontest.ReadFile(t, filepath.Join("..", "codec", "imaging", "samples", "avif"))
	be16 := binary.BigEndian.AppendUint16
	be32 := binary.BigEndian.AppendUint32
	box := func(name string, parts ...[]byte) []byte {
		data := slices.Concat(parts...)
		return append(append(be32(nil, uint32(len(data)+8)), name...), data...)
	}
	full := func(name string, version byte, flags byte, parts ...[]byte) []byte {
		return box(name, append([][]byte{{version, 0, 0, flags}}, parts...)...)
	}
	part := func(name string) []byte { // a box of the sample
		at := bytes.Index(sample, []byte(name)) - 4
		return sample[at : at+int(binary.BigEndian.Uint32(sample[at:]))]
	}
	pixels := part("mdat")[8:]
	layout := be32(be32([]byte{0, 1, byte(rows - 1), byte(columns - 1)}, width), height)
	references := be16(be16(nil, 1), uint16(columns*rows))
	for range columns * rows {
		references = be16(references, 2)
	}
	item := func(id uint16, kind string) []byte {
		return full("infe", 2, 0, be16(nil, id), []byte{0, 0}, []byte(kind), []byte{0})
	}
	head := sample[:binary.BigEndian.Uint32(sample)]
	meta := func(start int) []byte {
		location := func(id uint16, at, n int) []byte {
			return be32(be32(be16(be16(be16(nil, id), 0), 1), uint32(at)), uint32(n))
		}
		return full("meta", 0, 0,
			part("hdlr"),
			full("pitm", 0, 0, be16(nil, 1)),
			full("iloc", 0, 0, []byte{0x44, 0}, be16(nil, 2), location(1, start, len(layout)), location(2, start+len(layout), len(pixels))),
			full("iinf", 0, 0, be16(nil, 2), item(1, "grid"), item(2, "av01")),
			full("iref", 0, 0, box("dimg", references)),
			box("iprp",
				box("ipco", full("ispe", 0, 0, be32(be32(nil, width), height)), part("ispe"), part("av1C"), part("pixi"), part("colr")),
				full("ipma", 0, 0, be32(nil, 2), be16(nil, 1), []byte{2, 1, 4}, be16(nil, 2), []byte{4, 2, 0x83, 4, 5}),
			),
		)
	}
	start := len(head) + len(meta(0)) + 8
	return slices.Concat(head, meta(start), box("mdat", layout, pixels))
}

// tag is an entry of a TIFF directory with one value.
type tag struct {
	id, kind uint16
	value    uint32
}

// tiffOf is a little-endian TIFF of one directory, and the data after it; next
// is where the next directory is said to be.
func tiffOf(next uint32, data []byte, tags ...tag) []byte {
	slices.SortFunc(tags, func(a, b tag) int { return int(a.id) - int(b.id) })
	le16, le32 := binary.LittleEndian.AppendUint16, binary.LittleEndian.AppendUint32
	b := le32([]byte("II*\x00"), 8)
	b = le16(b, uint16(len(tags)))
	for _, g := range tags {
		b = le32(le32(le16(le16(b, g.id), g.kind), 1), g.value)
	}
	return append(le32(b, next), data...)
}

// TIFF tags, and the kinds of their values.
const (
	short, long                                  = 3, 4
	tagWidth, tagHeight, tagBits, tagCompression = 256, 257, 258, 259
	tagMeaning, tagOffsets, tagSamples, tagRows  = 262, 273, 277, 278
	tagCounts, tagTileWidth, tagTileHeight       = 279, 322, 323
	tagTileOffsets, tagTileCounts                = 324, 325
	lzw, deflate                                 = 5, 8
)

// lyingTIFFs have sizes and places that are not so.
func lyingTIFFs(t *testing.T) []bomb {
	t.Helper()
	honest := func(width, height uint32, data []byte, more ...tag) []byte {
		tags := []tag{
			{tagWidth, long, width},
			{tagHeight, long, height},
			{tagBits, short, 8},
			{tagCompression, short, 1},
			{tagMeaning, short, 1},
			{tagOffsets, long, 0},
			{tagSamples, short, 1},
			{tagRows, long, height},
			{tagCounts, long, uint32(len(data))},
		}
		for _, m := range more {
			tags = slices.DeleteFunc(tags, func(g tag) bool { return g.id == m.id })
			tags = append(tags, m)
		}
		start := uint32(8 + 2 + 12*len(tags) + 4)
		for i := range tags {
			if (tags[i].id == tagOffsets || tags[i].id == tagTileOffsets) && tags[i].value == 0 {
				tags[i].value = start
			}
		}
		return tiffOf(0, data, tags...)
	}
	dots := make([]byte, 64*64)
	tiles := func(side uint32) []tag {
		return []tag{{tagTileWidth, long, side}, {tagTileHeight, long, side}, {tagTileOffsets, long, 0}, {tagTileCounts, long, 4096}}
	}
	tooMany, corrupt, made := "too_many_pixels", "corrupt_image", "made"
	refused := []string{tooMany, corrupt, "processing_failed", "unsupported_format"} // whichever comes first
	loop := honest(64, 64, dots)
	binary.LittleEndian.PutUint32(loop[8+2+12*9:], 8)
	return []bomb{
		{"TIFF, as it should be", honest(64, 64, dots), []string{made}},
		{"TIFF of 2^31-1 a side", honest(0x7fffffff, 0x7fffffff, dots), []string{corrupt, tooMany}},
		{"TIFF of 100000 × 1000", honest(100000, 1000, dots), refused},
		{"TIFF with its strip beyond the end", honest(64, 64, dots, tag{tagOffsets, long, 0xfffffff0}), refused},
		{"TIFF with its strip in its header", honest(64, 64, dots, tag{tagOffsets, long, 4}), []string{made, corrupt}},
		{"TIFF with a strip of 4 GiB", honest(64, 64, dots, tag{tagCounts, long, 0xffffffff}), []string{made, corrupt, "processing_failed"}},
		{"TIFF with a packed strip of 2 GiB", honest(64, 64, dots, tag{tagCompression, short, lzw}, tag{tagCounts, long, 0x7ffffff0}), refused},
		{"TIFF of 4000 × 4000 in one strip", honest(4000, 4000, inflated(t, 4000*4000), tag{tagCompression, short, deflate}), []string{made}},
		{"TIFF of 9999 × 9999, its strip too short", honest(9999, 9999, dots), refused},
		{"TIFF with 2^32-1 rows a strip", honest(64, 64, dots, tag{tagRows, long, 0xffffffff}), []string{made, corrupt}},
		{"TIFF with 65535 samples a pixel", honest(1000, 1000, dots, tag{tagSamples, short, 65535}), refused},
		{"TIFF with 64 bits per sample", honest(64, 64, dots, tag{tagBits, short, 64}), refused},
		{"TIFF in tiles of 65536 × 65536", honest(64, 64, dots, tiles(65536)...), append(refused, made)},
		{"TIFF in tiles of 20000 × 20000", honest(64, 64, dots, tiles(20000)...), append(refused, made)},
		{"TIFF in tiles of 2^32-16", honest(64, 64, dots, tiles(0xfffffff0)...), refused},
		{"TIFF whose next directory is itself", loop, []string{made, corrupt, "too_many_frames"}},
	}
}
