package codec_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// observer is a basket that notes the nice values of this process's children.
type observer struct {
	basket
	nice []int
}

func (o *observer) Opened(s ladder.Source) error {
	all, err := procfs.AllProcs()
	if err != nil {
		return err
	}
	for _, p := range all {
		if stat, err := p.Stat(); err == nil && stat.PPID == os.Getpid() && stat.State != "Z" { // others may end meanwhile
			o.nice = append(o.nice, stat.Nice)
		}
	}
	slices.Sort(o.nice)
	return o.basket.Opened(s)
}

// observe renders one source, and returns the nice values of all children meanwhile.
func observe(t *testing.T, engine codec.Engine) []int {
	t.Helper()
	o := new(observer)
	if _, err := engine.Render(t.Context(), source(t, "ok"), recipe, wide, o); err != nil {
		t.Fatal(err)
	}
	return o.nice
}

func TestBackgroundYieldsToOtherWork(t *testing.T) {
	p := newPool(t, func(c *codec.Config) { c.Processes = 2 })
	alone := observe(t, p)
	if len(alone) != 1 {
		t.Fatalf("one image, and children with the nice values %v", alone)
	}
	const most = 19 // which is all that there is to get if the test runs at low priority itself
	if both := observe(t, p.Background()); len(both) != 2 || both[0] != alone[0] || both[1] < min(alone[0]+1, most) {
		t.Errorf("in the background the nice values are %v, want %d and a greater one, of at most %d", both, alone[0], most)
	}
	for range 2 {
		observe(t, p)
		observe(t, p.Background())
	}
	if got := p.Stats(); got.Started != 2 || got.Crashed != 0 {
		t.Errorf("%+v, want one child of each priority, and no more", got)
	}
}

// A child cannot raise its priority again: another one takes its place.
func TestBackgroundGivesItsPlaceToOtherWork(t *testing.T) {
	p := newPool(t, func(c *codec.Config) { c.Processes = 2 })
	observe(t, p.Background())
	inner := new(observer)
	outer := &nested{then: func() error {
		_, err := p.Render(t.Context(), source(t, "ok"), recipe, wide, inner)
		return err
	}}
	if _, err := p.Render(t.Context(), source(t, "ok"), recipe, wide, outer); err != nil {
		t.Fatal(err)
	}
	if len(inner.nice) != 2 || inner.nice[0] != inner.nice[1] {
		t.Errorf("two images at once have the nice values %v", inner.nice)
	}
}

// nested is a basket that does something else in the middle of an image.
type nested struct {
	basket
	then func() error
}

func (n *nested) Opened(s ladder.Source) error {
	if err := n.then(); err != nil {
		return err
	}
	return n.basket.Opened(s)
}

func TestPoolOfOneChildHasNoneForTheBackground(t *testing.T) {
	p := newPool(t, nil)
	if alone, both := observe(t, p), observe(t, p.Background()); !slices.Equal(alone, both) {
		t.Errorf("nice values %v, in the background %v", alone, both)
	}
}

func TestChildIsReadyForOtherWorkAfterWorkInTheBackground(t *testing.T) {
	p := newPool(t, func(c *codec.Config) { c.Processes = 2 })
	observe(t, p.Background())
	p.BackgroundIdleFor(time.Minute)
	p.CheckIdle()
	if nice := observe(t, p); len(nice) != 1 {
		t.Errorf("after a rest the children have the nice values %v, want one child", nice)
	}
	if got := p.Stats().Started; got != 2 {
		t.Errorf("%d children were started, want 2", got)
	}
}

// apart is a pool of one child, and one for the background.
func dedicated(c *codec.Config) { c.Dedicated = true }

func TestBackgroundWithADedicatedChildNeitherWaitsNorIsWaitedFor(t *testing.T) {
	p := newPool(t, dedicated)
	if p.Size() != 1 || p.Most() != 2 {
		t.Errorf("size %d, at most %d children", p.Size(), p.Most())
	}
	alone := observe(t, p)
	if len(alone) != 1 {
		t.Fatalf("one image, and children with the nice values %v", alone)
	}
	for what, engines := range map[string][2]codec.Engine{
		"during one of the background": {p.Background(), p},
		"the background's during one":  {p, p.Background()},
	} {
		inner := new(observer)
		outer := &nested{then: func() error {
			_, err := engines[1].Render(t.Context(), source(t, "ok"), recipe, wide, inner)
			return err
		}}
		if _, err := engines[0].Render(t.Context(), source(t, "ok"), recipe, wide, outer); err != nil {
			t.Fatal(err)
		}
		if n := inner.nice; len(n) != 2 || n[0] != alone[0] || n[1] <= n[0] {
			t.Errorf("an image %s: nice values %v, want %d and a greater one", what, n, alone[0])
		}
	}
	if got := p.Stats(); got.Started != 2 || got.Crashed != 0 {
		t.Errorf("%+v, want one child of each priority, and no more", got)
	}
}

func TestDedicatedChildTakesNoOtherImages(t *testing.T) {
	p := newPool(t, dedicated)
	observe(t, p.Background())
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for what, engine := range map[string]codec.Engine{"the other child": p, "the one apart": p.Background()} {
		outer := &nested{then: func() error {
			_, err := engine.Render(over, source(t, "ok"), recipe, wide, new(basket))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("a second image for %s: %v, want it to wait", what, err)
			}
			return nil
		}}
		if _, err := engine.Render(t.Context(), source(t, "ok"), recipe, wide, outer); err != nil {
			t.Error(err)
		}
	}
	observe(t, p.Background())
	observe(t, p)
	if got := p.Stats().Started; got != 2 {
		t.Errorf("%d children were started, want 2", got)
	}
}

func TestDedicatedChildEndsAfterARest(t *testing.T) {
	p := newPool(t, dedicated)
	for range 2 {
		observe(t, p.Background())
		p.BackgroundIdleFor(time.Minute)
		p.CheckIdle()
		if nice := observe(t, p); len(nice) != 1 {
			t.Errorf("after a rest the children have the nice values %v, want one child", nice)
		}
	}
	if got := p.Stats(); got.Started != 3 || got.Crashed != 0 {
		t.Errorf("%+v, want a child, and one apart twice", got)
	}
}

func TestLastAttemptWaitsForTheDedicatedChild(t *testing.T) {
	p := newPool(t, dedicated)
	over, cancel := context.WithCancel(t.Context())
	defer cancel()
	alone := make(chan error, 1)
	last := source(t, "ok")
	outer := &nested{then: func() error {
		go func() {
			_, err := p.Alone().Render(over, last, recipe, wide, new(basket))
			alone <- err
		}()
		observe(t, p) // other images do not wait for either
		cancel()
		if err := <-alone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want it to wait", err)
		}
		return nil
	}}
	if _, err := p.Background().Render(t.Context(), source(t, "ok"), recipe, wide, outer); err != nil {
		t.Fatal(err)
	}
	if nice := observe(t, p.Alone()); len(nice) != 3 { // two of them idle
		t.Errorf("nice values %v, want a fresh child", nice)
	}
	observe(t, p)
	observe(t, p.Background())
	if got := p.Stats(); got.Started != 3 || got.Crashed != 0 {
		t.Errorf("%+v, want all places free again", got)
	}
}

// On a busy machine the start of a child of low priority takes long.
func TestStartDoesNotWaitForOneInTheBackground(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	p := newPool(t, func(c *codec.Config) { c.Processes = 3 })
	write := func(name, content string) {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("illness", "waits")
	sources := []*os.File{source(t, "ok"), source(t, "ok"), source(t, "ok")}
	background := make(chan error, 1)
	go func() {
		_, err := p.Background().Render(t.Context(), sources[0], recipe, wide, new(basket))
		background <- err
	}()
	for { // until the child has begun to start
		if _, err := os.Stat(dir + "/illness"); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	outer := &nested{then: func() error { // a second image needs a second child
		_, err := p.Render(t.Context(), sources[1], recipe, wide, new(basket))
		return err
	}}
	if _, err := p.Render(t.Context(), sources[2], recipe, wide, outer); err != nil {
		t.Error(err)
	}
	if got := p.Stats().Started; got != 2 {
		t.Errorf("%d children have started, want 2 and one that starts", got)
	}
	write("go", "")
	if err := <-background; err != nil {
		t.Error(err)
	}
}
