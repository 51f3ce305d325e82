package imaging

import (
	"errors"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/h2non/bimg"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// wantFault renders a file and fails unless it is refused for the reason given,
// in a sentence that is fit for a client.
func wantFault(t *testing.T, path string, limits ladder.Limits, want fault.Code) *collector {
	t.Helper()
	c, _, err := tryRender(t, path, recipe(defaultFormats, 50, 300), limits)
	if err == nil {
		t.Errorf("%s: no error", filepath.Base(path))
		return c
	}
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != want {
		t.Errorf("%s: %v, want %s", filepath.Base(path), err, want)
		return c
	}
	for _, bad := range []string{"vips", "Vips", "/", "kernel", "\n"} {
		if strings.Contains(f.Detail, bad) {
			t.Errorf("%s: the detail %q contains %q", filepath.Base(path), f.Detail, bad)
		}
	}
	if len(c.files) != 0 {
		t.Errorf("%s: refused, but %d files were made", filepath.Base(path), len(c.files))
	}
	return c
}

func TestDamagedImages(t *testing.T) {
	dir := t.TempDir()
	paths := map[string]string{
		"jpg":  sample(t, "test.jpg"),
		"png":  sample(t, "parameter_trim.png"),
		"webp": sample(t, "test.webp"),
		"gif":  sample(t, "test.gif"),
		"heic": sample(t, "test2.heic"),
		"avif": sample(t, "test.avif"),
		"tif":  filepath.Join(dir, "whole.tif"),
	}
	vips(t, "tiffsave", paths["jpg"], paths["tif"], "--compression", "lzw")
	for ext, path := range paths {
		whole := read(t, path)
		for what, b := range map[string][]byte{
			"half":   whole[:len(whole)/2],
			"header": whole[:min(700, len(whole)/10)],
			"start":  whole[:32],
		} {
			if ext == "gif" && what == "half" {
				continue // libnsgif shows the frames that are whole
			}
			wantFault(t, file(t, what+"."+ext, b), generous, fault.CorruptImage)
		}
	}
	progressive := filepath.Join(dir, "progressive.jpg")
	vips(t, "jpegsave", paths["jpg"], progressive, "--interlace")
	b := read(t, progressive)
	wantFault(t, file(t, "half-progressive.jpg", b[:len(b)/2]), generous, fault.CorruptImage)
}

func TestFilesOfOtherKindsAreRefused(t *testing.T) {
	dir := t.TempDir()
	ppm, native := filepath.Join(dir, "x.ppm"), filepath.Join(dir, "x.v")
	vips(t, "copy", sample(t, "test_smart_crop.jpg"), ppm)
	vips(t, "copy", sample(t, "test_smart_crop.jpg"), native)
	for _, path := range []string{
		file(t, "empty", nil),
		file(t, "short", []byte("\xFF\xD8\xFF")),
		file(t, "text.jpg", []byte("This is not a picture, whatever its name says.")),
		file(t, "page.html", []byte("<!doctype html><svg xmlns='http://www.w3.org/2000/svg'></svg>")),
		file(t, "tiny.svg", []byte("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'></svg>")),
		sample(t, "test.svg"),
		sample(t, "test.pdf"),
		sample(t, "test.jp2"),
		ppm,
		native,
	} {
		if c := wantFault(t, path, generous, fault.UnsupportedFormat); c.opened != nil {
			t.Errorf("%s was opened", filepath.Base(path))
		}
	}
}

func TestLibvipsLoadersThatAreNotUsedAreBlocked(t *testing.T) {
	engine()
	_, err := bimg.NewImage(read(t, sample(t, "test.svg"))).Size()
	if err == nil || !strings.Contains(err.Error(), "blocked") {
		t.Errorf("an SVG, opened by libvips directly: %v", err)
	}
	if _, err := bimg.NewImage(read(t, sample(t, "test.jpg"))).Size(); err != nil {
		t.Errorf("JPEG is blocked, too: %v", err)
	}
}

func TestPixelLimitIsCheckedInTheHeader(t *testing.T) {
	limits := generous
	limits.MaxPixels = 268e6
	for _, path := range []string{
		jpegSized(t, 20000, 14000),
		pngSized(t, 100000, 100000),
		pngSized(t, 20000, 14000),
	} {
		before := Memory().Highwater
		c := wantFault(t, path, limits, fault.TooManyPixels)
		if grown := Memory().Highwater - before; grown > 1<<20 {
			t.Errorf("%s took %d bytes", filepath.Base(path), grown)
		}
		if c.opened != nil {
			t.Errorf("%s was opened", filepath.Base(path))
		}
	}
}

func TestLimits(t *testing.T) {
	animation := gifOf(t, 100, []color.RGBA{red, green, blue}, []int{5, 5, 5}, 0)
	progressive := filepath.Join(t.TempDir(), "progressive.jpg")
	vips(t, "jpegsave", sample(t, "test_exif.jpg"), progressive, "--interlace")
	for _, test := range []struct {
		path   string
		limits ladder.Limits
		want   fault.Code
		detail string
	}{
		{
			animation,
			ladder.Limits{MaxPixels: 1e9, MaxFrames: 2, MaxMemory: 1 << 30},
			fault.TooManyFrames,
			"The animation has 3 frames; the limit is 2.",
		},
		{
			animation,
			ladder.Limits{MaxPixels: 29999, MaxFrames: 3, MaxMemory: 1 << 30},
			fault.TooManyPixels,
			"The image has 30000 pixels (100 × 100 in 3 frames); the limit is 29999.",
		},
		{
			progressive,
			ladder.Limits{MaxPixels: 1e9, MaxFrames: 1, MaxMemory: 40 << 20},
			fault.TooManyPixels,
			" MB of memory; the limit (limits.max_memory) is 40 MB.",
		},
	} {
		wantFault(t, test.path, test.limits, test.want)
		_, _, err := tryRender(t, test.path, recipe(defaultFormats, 50), test.limits)
		if detail := fault.From(err).Detail; !strings.HasSuffix(detail, test.detail) {
			t.Errorf("detail %q, want %q", detail, test.detail)
		}
	}
	exactly := ladder.Limits{MaxPixels: 30000, MaxFrames: 3, MaxMemory: 1 << 30}
	if _, _, err := tryRender(t, animation, recipe(defaultFormats, 50), exactly); err != nil {
		t.Errorf("at the limits: %v", err)
	}
	// The same image in one scan streams.
	small := ladder.Limits{MaxPixels: 1e9, MaxFrames: 1, MaxMemory: 40 << 20}
	if _, _, err := tryRender(t, sample(t, "test_exif.jpg"), recipe(defaultFormats, 50), small); err != nil {
		t.Errorf("baseline: %v", err)
	}
}

func TestClosedFileIsOurFault(t *testing.T) {
	f, err := os.Open(sample(t, "test.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, err = engine().Render(t.Context(), f, recipe(defaultFormats, 50), generous, new(collector))
	if fault.CodeOf(err) != fault.Internal {
		t.Errorf("got %v", err)
	}
}

// A TIFF may have more samples a pixel than its colors need.
func TestGrayWithTwoMoreSamplesIsMade(t *testing.T) {
	f, err := os.Open("testdata/grey-and-two-more.tiff")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := new(collector)
	if _, err := engine().Render(t.Context(), f, recipe(allFormats, 8, 16), generous, c); err != nil {
		t.Fatal(err)
	}
	if len(c.order) == 0 {
		t.Error("nothing was made")
	}
}
