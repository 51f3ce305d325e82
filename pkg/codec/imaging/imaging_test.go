package imaging

import (
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// generous are limits that no ordinary image meets.
var generous = ladder.Limits{MaxPixels: 100e6, MaxFrames: 500, MaxMemory: 1 << 30}

var engine = sync.OnceValue(func() *Engine {
	e, err := Start(Config{Threads: 2})
	if err != nil {
		panic(err)
	}
	return e
})

// recipe is the default ladder with other widths and formats.
func recipe(formats []ladder.Format, widths ...int) ladder.Recipe {
	c := ladder.DefaultConfig()
	c.Formats = formats
	c.Widths = widths
	c.Quality.AVIF = 55 // at the default a small AVIF is often no smaller than the WebP, and omitted
	return c.Recipe()
}

var (
	defaultFormats = []ladder.Format{ladder.WebP, ladder.JPEG}
	allFormats     = []ladder.Format{ladder.AVIF, ladder.WebP, ladder.JPEG}
)

// collector keeps all that an engine hands out. Its funcs, where set, run
// first and may fail.
type collector struct {
	opened  *ladder.Source
	order   []ladder.Variant
	files   map[string][]byte
	open    func() error
	variant func() error
}

func (c *collector) Opened(s ladder.Source) error {
	c.opened = &s
	if c.open != nil {
		return c.open()
	}
	return nil
}

func (c *collector) Variant(v ladder.Variant, body io.Reader) error {
	if c.variant != nil {
		if err := c.variant(); err != nil {
			return err
		}
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if c.files == nil {
		c.files = make(map[string][]byte)
	}
	c.order = append(c.order, v)
	c.files[v.Name()] = b
	return nil
}

// tryRender renders a file and gives all there is to know of it.
func tryRender(t testing.TB, path string, r ladder.Recipe, limits ladder.Limits) (*collector, ladder.Summary, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := new(collector)
	s, err := engine().Render(context.Background(), f, r, limits, c)
	return c, s, err
}

// render is tryRender for an image that is in order. It checks what holds for
// every image.
func render(t testing.TB, path string, r ladder.Recipe) (*collector, ladder.Summary) {
	t.Helper()
	c, s, err := tryRender(t, path, r, generous)
	if err != nil {
		t.Fatalf("render %s: %v", filepath.Base(path), err)
	}
	plan := r.Plan(c.opened.Width, c.opened.Height)
	if got, want := len(c.order)+len(s.Omitted), len(plan.Variants); got != want {
		t.Errorf("%d files and omissions, want %d: %v %v", got, want, c.order, s.Omitted)
	}
	for _, v := range c.order {
		if int(v.Bytes) != len(c.files[v.Name()]) {
			t.Errorf("%s has %d bytes, announced were %d", v.Name(), len(c.files[v.Name()]), v.Bytes)
		}
	}
	stages := []ladder.Stage{ladder.StageDecode, ladder.StageOrient, ladder.StageResize}
	for _, e := range r.Encoders {
		if slices.ContainsFunc(plan.Variants, func(v ladder.Variant) bool { return v.Format == e.Format }) {
			stages = append(stages, ladder.EncodeStage(e.Format))
		}
	}
	slices.Sort(stages)
	stages = slices.Compact(stages) // a format may have several encoders, by width
	if got := slices.Sorted(maps.Keys(s.Timings)); !slices.Equal(got, stages) {
		t.Errorf("timings of %v, want %v", got, stages)
	}
	return c, s
}

// sample is the path of an image of bimg's own tests.
func sample(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(bimgDir(t), "testdata", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

var moduleDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/h2non/bimg").Output()
	return strings.TrimSpace(string(out)), err
})

func bimgDir(t testing.TB) string {
	t.Helper()
	dir, err := moduleDir()
	if err != nil {
		t.Fatalf("find bimg's test pictures: %v", err)
	}
	return dir
}

// run runs a tool of libvips-tools.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is missing: install libvips-tools", name)
	}
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(out)
}
