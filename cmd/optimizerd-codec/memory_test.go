package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// mapped returns the private writable memory of a process in MiB, used or not, without
// the heap of malloc, which is kept for the next image.
func mapped(t *testing.T, pid int) (mib float64) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		fields := strings.Fields(line)
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if fields[1] == "rw-p" && fields[len(fields)-1] != "[heap]" {
			mib += float64(to-from) / (1 << 20)
		}
	}
	return mib
}

// Decoders and encoders start threads, whose stacks count toward the limit of memory as
// a whole: an image that needs much is not to find less room for them. With stacks of
// 8 MiB, and those of ended threads kept, they left 42 MiB here.
func TestImagesOfAllKindsLeaveLittleMapped(t *testing.T) {
	_, pool := bothSides(t)
	child := theChild(t)
	fresh := mapped(t, child)
	for _, name := range []string{"test.jpg", "test.avif", "test.gif", "test.heic", "test2.heic", "test.webp", "test.png"} {
		ladderOf(t, pool, photo(t, name), 64, 320)
	}
	const most = 24
	if now := mapped(t, child); now-fresh > most {
		t.Errorf("%.0f MiB are mapped, after %.0f in the beginning; want at most %d more", now, fresh, most)
	}
	if got := pool.Stats(); got.Started != 1 || got.Crashed != 0 {
		t.Errorf("%+v, want one child", got)
	}
}

// What images of other kinds leave mapped is not to fail one that needs nearly all of
// the limit, with as many threads as a Raspberry Pi has cores.
func TestLargeImageHasRoomAfterOthers(t *testing.T) {
	c := codec.DefaultConfig()
	c.Path, c.Processes, c.Threads, c.Memory, c.Timeout = build(t), 1, 4, 448<<20, time.Hour
	pool, err := codec.NewPool(t.Context(), c, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	limits := generous
	limits.MaxMemory = 384 << 20
	render := func(name string, config ladder.Config) {
		t.Helper()
		src, err := os.Open(photo(t, name))
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if _, err := pool.Render(t.Context(), src, config.Recipe(), limits, make(digests)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"test.avif", "test.gif", "test.heic", "test2.heic"} {
		render(name, ladder.DefaultConfig())
	}
	large := ladder.DefaultConfig()
	large.Widths, large.Formats = []int{2048}, []ladder.Format{ladder.JPEG}
	render("vertical.webp", large) // 24 megapixels
	if got := pool.Stats(); got.Crashed != 0 || got.Started > 2 {
		t.Errorf("%+v, want no crash", got)
	}
}
