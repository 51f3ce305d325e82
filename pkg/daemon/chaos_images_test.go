package daemon_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"image/png"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

// specimen is a whole image that is to be damaged.
type specimen struct {
	name string // its extension is the format
	data []byte
}

func (s specimen) format() string { return strings.TrimPrefix(filepath.Ext(s.name), ".") }

// specimens are small images of every accepted format, and of many kinds.
func specimens(t *testing.T) []specimen {
	t.Helper()
	var list []specimen
	for _, name := range []string{"avif", "gif", "heic", "jpeg", "png", "tiff", "webp"} {
		list = append(list, specimen{"sample." + name, daemontest.ReadFile(t, filepath.Join("..", "codec", "imaging", "samples", name))})
	}
	for _, name := range []string{"test_exif_canon.jpg", "test_smart_crop.jpg", "test_issue.jpg", "test.webp", "transparent.png", "test2.heic"} {
		ext := strings.Replace(filepath.Ext(name), ".jpg", ".jpeg", 1)
		list = append(list, specimen{strings.TrimSuffix(name, filepath.Ext(name)) + ext, daemontest.BimgImage(t, name)})
	}
	return append(append(list, shipped(t)...), generated(t)...)
}

// shipped are the files of testdata/specimens: kinds that Go cannot encode, and
// that not every release of libvips can.
func shipped(t *testing.T) (list []specimen) {
	t.Helper()
	dir := filepath.Join("testdata", "specimens")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, specimen{e.Name(), daemontest.ReadFile(t, filepath.Join(dir, e.Name()))})
	}
	return list
}

// generated are images of the kinds that the others are not, encoded by Go.
func generated(t *testing.T) []specimen {
	t.Helper()
	var list []specimen
	add := func(name string, encode func(w io.Writer) error) {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatal(err)
		}
		list = append(list, specimen{name, b.Bytes()})
	}
	still := gradient(150, 100)
	paletted := image.NewPaletted(still.Rect, palette.Plan9)
	draw.FloydSteinberg.Draw(paletted, paletted.Rect, still, image.Point{})
	bits := image.NewPaletted(still.Rect, color.Palette{color.Black, color.White})
	draw.Draw(bits, bits.Rect, still, image.Point{}, draw.Src)
	gray := &image.Gray16{Pix: gradient(60, 80).Pix, Stride: 240, Rect: image.Rect(0, 0, 60, 80)}
	add("still.png", func(w io.Writer) error { return png.Encode(w, still) })
	add("gray16.png", func(w io.Writer) error { return png.Encode(w, gray) })
	add("palette.png", func(w io.Writer) error { return png.Encode(w, paletted) })
	add("bits.png", func(w io.Writer) error { return png.Encode(w, bits) })
	add("moving.gif", func(w io.Writer) error { return gif.EncodeAll(w, animation(6)) })
	add("dithered.gif", func(w io.Writer) error { return gif.Encode(w, still, nil) })
	return list
}

// gradient has smooth parts, hard edges, noise, and all degrees of alpha.
func gradient(width, height int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	dots := daemontest.Noise(7, width, height)
	for y := range height {
		for x := range width {
			c := color.NRGBA{uint8(x * 255 / width), uint8(y * 255 / height), uint8((x / 10 % 2) * 200), uint8(255 - x*y*255/(width*height))}
			if (x/16+y/16)%5 == 0 {
				c.B = dots.RGBAAt(x, y).B
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

// animation has frames of several sizes, places and disposals.
func animation(frames int) *gif.GIF {
	colors := color.Palette{color.Transparent, color.Black, color.White, color.RGBA{200, 30, 60, 255}}
	g := &gif.GIF{Config: image.Config{ColorModel: colors, Width: 64, Height: 48}, BackgroundIndex: 1}
	for i := range frames {
		area := image.Rect(i, i, 64-2*i, 48-i)
		if i == 0 {
			area = image.Rect(0, 0, 64, 48)
		}
		frame := image.NewPaletted(area, colors)
		for j := range frame.Pix {
			frame.Pix[j] = uint8((j/7 + i*j) % len(colors))
		}
		g.Image = append(g.Image, frame)
		g.Delay = append(g.Delay, i*3)
		g.Disposal = append(g.Disposal, []byte{gif.DisposalNone, gif.DisposalBackground, gif.DisposalPrevious}[i%3])
	}
	return g
}

// extremes are what a length or a size is set to.
var extremes = []uint32{0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff}

// damages are the ways in which an image is changed. Each may return what it
// got.
var damages = []struct {
	name string
	do   func(r *rand.Rand, b, other []byte) []byte
}{
	{"bits flipped", func(r *rand.Rand, b, _ []byte) []byte {
		for range 1 + r.IntN(8) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	}},
	{"bytes changed", func(r *rand.Rand, b, _ []byte) []byte {
		for range 1 + r.IntN(16) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		return b
	}},
	{"header changed", func(r *rand.Rand, b, _ []byte) []byte {
		for range 1 + r.IntN(4) {
			b[r.IntN(min(len(b), 400))] = byte(r.Uint32())
		}
		return b
	}},
	{"cut", func(r *rand.Rand, b, _ []byte) []byte { return b[:1+r.IntN(len(b))] }},
	{"range dropped", func(r *rand.Rand, b, _ []byte) []byte {
		from, to := span(r, b)
		return slices.Delete(b, from, to)
	}},
	{"range doubled", func(r *rand.Rand, b, _ []byte) []byte {
		from, to := span(r, b)
		return slices.Insert(b, r.IntN(len(b)), bytes.Repeat(b[from:to], 1+r.IntN(3))...)
	}},
	{"range of another", func(r *rand.Rand, b, other []byte) []byte {
		from, to := span(r, other)
		return slices.Insert(b, r.IntN(len(b)), other[from:to]...)
	}},
	{"overwritten by another", func(r *rand.Rand, b, other []byte) []byte {
		from, to := span(r, other)
		copy(b[r.IntN(len(b)):], other[from:to])
		return b
	}},
	{"head of one, tail of another", func(r *rand.Rand, b, other []byte) []byte {
		return append(b[:1+r.IntN(len(b))], other[r.IntN(len(other)):]...)
	}},
	{"noise", func(r *rand.Rand, b, _ []byte) []byte {
		from, to := span(r, b)
		for i := from; i < to; i++ {
			b[i] = byte(r.Uint32())
		}
		return b
	}},
	{"length of 16 bits", func(r *rand.Rand, b, _ []byte) []byte { return patched(r, b, 2, len(b)) }},
	{"length of 32 bits", func(r *rand.Rand, b, _ []byte) []byte { return patched(r, b, 4, len(b)) }},
	{"length in the header", func(r *rand.Rand, b, _ []byte) []byte {
		return patched(r, b, 2+2*r.IntN(2), min(len(b), 400))
	}},
}

// span is a range of b, mostly a short one.
func span(r *rand.Rand, b []byte) (from, to int) {
	from = r.IntN(len(b))
	longest := len(b) - from
	if r.IntN(4) > 0 {
		longest = min(longest, 64)
	}
	return from, from + 1 + r.IntN(longest)
}

// patched has an extreme number of so many bytes somewhere before end, in
// either order.
func patched(r *rand.Rand, b []byte, size, end int) []byte {
	if end < size {
		return b
	}
	at, value := r.IntN(end-size+1), extremes[r.IntN(len(extremes))]
	switch big := r.IntN(2) == 0; {
	case size == 2 && big:
		binary.BigEndian.PutUint16(b[at:], uint16(value))
	case size == 2:
		binary.LittleEndian.PutUint16(b[at:], uint16(value))
	case big:
		binary.BigEndian.PutUint32(b[at:], value)
	default:
		binary.LittleEndian.PutUint32(b[at:], value)
	}
	return b
}

// mutant is a damaged image. It follows from seed and number alone.
type mutant struct {
	number int
	format string
	how    string
	data   []byte
}

func (m mutant) String() string { return fmt.Sprintf("picture %d (%s)", m.number, m.how) }

func mutate(list []specimen, seed uint64, number int) mutant {
	r := rand.New(rand.NewPCG(seed, uint64(number)))
	s, other := list[r.IntN(len(list))], list[r.IntN(len(list))]
	if r.IntN(3) > 0 { // most often one of the same format
		var same []specimen
		for _, o := range list {
			if o.format() == s.format() {
				same = append(same, o)
			}
		}
		other = same[r.IntN(len(same))]
	}
	b, how := bytes.Clone(s.data), s.name
	for range 1 + r.IntN(3) {
		d := damages[r.IntN(len(damages))]
		how += ", " + d.name
		if b = d.do(r, b, other.data); len(b) == 0 {
			b = []byte{0}
		}
	}
	if s.format() == "png" && r.IntN(4) > 0 { // else the checksums refuse all but the rarest
		how += ", checksums fixed"
		fixPNG(b)
	}
	return mutant{number, s.format(), how, b}
}

// fixPNG sets the checksum of every chunk that can be made out.
func fixPNG(b []byte) {
	for at := 8; at+12 <= len(b); {
		n := int64(binary.BigEndian.Uint32(b[at:]))
		if n > int64(len(b)-at-12) {
			return
		}
		end := at + 8 + int(n)
		binary.BigEndian.PutUint32(b[end:], crc32.ChecksumIEEE(b[at+4:end]))
		at = end + 4
	}
}

// tally counts answers and what they took.
type tally struct {
	mu      sync.Mutex
	answers map[string]int
	made    map[string]int // by format of the source
	sent    map[string]int
	longest time.Duration
	slowest mutant
	failed  []mutant // with processing_failed
}

func (c *tally) add(m mutant, verdict string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[verdict]++
	c.sent[m.format]++
	if verdict == "made" {
		c.made[m.format]++
	}
	if verdict == "processing_failed" {
		c.failed = append(c.failed, m)
	}
	if took > c.longest {
		c.longest, c.slowest = took, m
	}
}

func TestChaosMutatedImages(t *testing.T) {
	t.Parallel()
	seed, list := daemontest.Seed(t), specimens(t)
	p := daemontest.StartProcess(t, "ladder.widths=32,64", "ladder.formats=webp,jpeg,avif", "ladder.effort.avif=0", "ladder.effort.webp=1",
		"codec.processes=2", "codec.timeout=10s")
	for _, s := range list { // what is damaged below is a good image
		if a, err := p.TryUpload(s.data); err != nil || a.StatusCode != http.StatusCreated {
			t.Errorf("%s, undamaged: got %v %s %v, want 201", s.name, a.Response, a.Body, err)
		} else if m, err := p.CheckSet(a, s.data); err != nil {
			t.Errorf("%s, undamaged: %v", s.name, err)
		} else if err := p.Delete(m.ID); err != nil {
			t.Error(err)
		}
	}
	total := *chaos.images
	counts := &tally{answers: make(map[string]int), made: make(map[string]int), sent: make(map[string]int)}
	var samples []sample
	began := time.Now()
	for done := 0; done < total; { // in tenths, so that what is left can be seen between them
		n := min(total-done, max(1, total/10))
		uploadMutants(p, list, seed, *chaos.first+done, n, counts)
		if t.Failed() {
			return
		}
		done += n
		p.CheckNothingLeft()
		samples = append(samples, sampleOf(p))
	}
	took := time.Since(began)
	crashesAreRemembered(p, counts)
	isFlat(p, samples)
	p.CheckServes()
	p.CheckNothingLeft()

	figure(t, "mutated images", "%d in %.0f s (seed %d)", total, took.Seconds(), seed)
	for _, verdict := range slices.Sorted(maps.Keys(counts.answers)) {
		figure(t, "  answered "+verdict, "%d", counts.answers[verdict])
	}
	for _, format := range slices.Sorted(maps.Keys(counts.sent)) {
		figure(t, "  of "+format, "%d sent, %d made", counts.sent[format], counts.made[format])
	}
	figure(t, "  longest request", "%.1f s, %v", counts.longest.Seconds(), counts.slowest)
	first, last := samples[0], samples[len(samples)-1]
	figure(t, "  daemon, after the 1st and 10th tenth", "%.1f and %.1f MiB, %d and %d goroutines", daemontest.MiB(first.daemon), daemontest.MiB(last.daemon), first.goroutines, last.goroutines)
	figure(t, "  children, likewise", "%.1f and %.1f MiB", daemontest.MiB(first.children), daemontest.MiB(last.children))
	figure(t, "  daemon exits, hangs, files left behind", "0")
}

// uploadMutants sends so many, from four clients, and checks every answer.
func uploadMutants(p *daemontest.Process, list []specimen, seed uint64, first, n int, counts *tally) {
	p.T.Helper()
	var next atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for i := int(next.Add(1)); i <= n && !p.T.Failed(); i = int(next.Add(1)) {
				m := mutate(list, seed, first+i-1)
				if err := uploadMutant(p, m, seed, counts); err != nil {
					p.T.Errorf("%v: %v\nsee it again with -run=%s -chaos.seed=%d -chaos.first=%d -chaos.images=1", m, err, p.T.Name(), seed, m.number)
					keep(p.T, seed, m)
				}
			}
		})
	}
	clients.Wait()
}

func uploadMutant(p *daemontest.Process, m mutant, seed uint64, counts *tally) error {
	began := time.Now()
	a, err := p.TryUpload(m.data)
	if err != nil {
		return err
	}
	took := time.Since(began)
	verdict, err := a.Verdict()
	if err != nil {
		return err
	}
	counts.add(m, verdict, took)
	if verdict == "processing_failed" {
		keep(p.T, seed, m)
	}
	if a.StatusCode != http.StatusCreated { // after 200, the client of the equal image checks and removes the set
		return nil
	}
	made, err := p.CheckSet(a, m.data)
	if err != nil {
		return err
	}
	return p.Delete(made.ID)
}

// keep writes an image to -chaos.keep.
func keep(t *testing.T, seed uint64, m mutant) {
	if *chaos.keep == "" {
		return
	}
	name := fmt.Sprintf("%d-%d.%s", seed, m.number, m.format)
	if err := os.WriteFile(filepath.Join(*chaos.keep, name), m.data, 0o600); err != nil {
		t.Error(err)
	}
}

// crashesAreRemembered checks that each image that failed by killing its
// process is in quarantine, and is refused at once when it comes again.
func crashesAreRemembered(p *daemontest.Process, counts *tally) {
	p.T.Helper()
	entries := p.Quarantined()
	if len(entries) != len(counts.failed) {
		p.T.Errorf("%d sources are in quarantine, want the %d that failed", len(entries), len(counts.failed))
	}
	crashes := p.Metric("optimizerd_codec_crashes_total")
	if crashes < 2*float64(len(counts.failed)) {
		p.T.Errorf("%v crashes are counted for %d sources that were tried twice", crashes, len(counts.failed))
	}
	reasons := make(map[string]int)
	for _, m := range counts.failed {
		digest := sha256.Sum256(m.data)
		entry, ok := entries[hex.EncodeToString(digest[:])]
		if !ok {
			p.T.Errorf("%v is not in quarantine", m)
		}
		_, reason, _ := strings.Cut(entry.Reason, "codec process: ")
		reasons[reason]++
		p.T.Logf("%v: %s", m, entry.Reason)
		a, err := p.TryUpload(m.data)
		if err != nil || a.Code() != "processing_failed" {
			p.T.Errorf("%v again: got %v, %v, want it refused", m, a.Response, err)
		}
	}
	if again := p.Metric("optimizerd_codec_crashes_total"); again != crashes {
		p.T.Errorf("%v more processes died of what is in quarantine", again-crashes)
	}
	figure(p.T, "  codec processes that died", "%.0f, of %d images, all in quarantine", crashes, len(counts.failed))
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		figure(p.T, "    "+reason, "%d images", reasons[reason])
	}
}

// sample is what the daemon takes at rest.
type sample struct {
	daemon, children int64
	goroutines       int
}

func sampleOf(p *daemontest.Process) sample {
	p.T.Helper()
	goroutines := int(p.Metric("go_goroutines"))
	daemon, children := p.Resident()
	return sample{daemon, children, goroutines}
}

// isFlat holds the last tenth against the first, which is warm.
func isFlat(p *daemontest.Process, samples []sample) {
	p.T.Helper()
	first, last := samples[0], samples[len(samples)-1]
	if last.daemon > first.daemon*5/4+8<<20 {
		p.T.Errorf("the daemon grew from %.1f to %.1f MiB", daemontest.MiB(first.daemon), daemontest.MiB(last.daemon))
	}
	if last.goroutines > first.goroutines+10 {
		p.T.Errorf("%d goroutines became %d", first.goroutines, last.goroutines)
	}
}
