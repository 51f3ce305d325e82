package codec_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

var wide = ladder.Limits{MaxPixels: 1e9, MaxFrames: 1000}

func TestIdleChildThatUsesTheCPUIsKilled(t *testing.T) {
	codec.CheckIdleEvery(50 * time.Millisecond)
	defer codec.CheckIdleEvery(30 * time.Second)
	p := newPool(t, nil)
	if _, err := p.Render(t.Context(), source(t, "ok"), recipe, wide, new(basket)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Render(t.Context(), source(t, "mine"), recipe, wide, new(basket)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(3 * time.Minute); p.Stats().Crashed == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is still running")
		}
	}
	if _, err := p.Render(t.Context(), source(t, "ok"), recipe, wide, new(basket)); err != nil {
		t.Errorf("after it: %v", err)
	}
	if got := p.Stats(); got.Started != 2 || got.Crashed != 1 {
		t.Errorf("%+v, want the one child replaced", got)
	}
}

func TestIdleChildMayHaveUsedTheCPUToStart(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	if err := os.WriteFile(filepath.Join(dir, "illness"), []byte("slow"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, nil)
	p.CheckIdle()
	if got := p.Stats(); got.Crashed != 0 {
		t.Errorf("%+v: it was killed", got)
	}
}

// Go's runtime uses a little as long as it runs.
func TestChildThatIsIdleForLongMayUseTheCPUALittle(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	p := newPool(t, nil)
	if _, err := p.Render(t.Context(), source(t, "doze"), recipe, wide, new(basket)); err != nil {
		t.Fatal(err)
	}
	p.IdleFor(24 * time.Hour)
	for deadline := time.Now().Add(3 * time.Minute); os.Remove(filepath.Join(dir, "rest")) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not rest")
		}
	}
	p.CheckIdle()
	if got := p.Stats(); got.Crashed != 0 {
		t.Errorf("%+v: it was killed", got)
	}
}

// After a rest, the memory of the images is given back; one child is ready for the
// next image all the same.
func TestChildThatHasWorkedIsReplacedAfterARest(t *testing.T) {
	p := newPool(t, nil)
	check := func(what string, started int64) {
		t.Helper()
		p.CheckIdle()
		if got := p.Stats(); got.Started != started || got.Crashed != 0 {
			t.Errorf("%s: %+v, want %d started and none crashed", what, got, started)
		}
	}
	p.IdleFor(time.Hour)
	check("a child that has not worked", 1)
	if _, err := p.Render(t.Context(), source(t, "ok"), recipe, wide, new(basket)); err != nil {
		t.Fatal(err)
	}
	check("just after an image", 1)
	p.IdleFor(time.Minute)
	check("a minute later", 2)
	p.IdleFor(time.Hour)
	check("an hour later", 2)
	if _, err := p.Render(t.Context(), source(t, "ok"), recipe, wide, new(basket)); err != nil {
		t.Fatal(err)
	}
	check("after the next image", 2)
}

func TestInheritedDescriptorsDoNotReachChildren(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY, 0) // without O_CLOEXEC, as a shell leaves it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 100) // where no child has one of its own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(high) }()
	p := newPool(t, nil)
	if _, err := p.Render(t.Context(), source(t, fmt.Sprint("descriptor ", high)), recipe, wide, new(basket)); err != nil {
		t.Error(err)
	}
}
