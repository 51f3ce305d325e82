package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
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
