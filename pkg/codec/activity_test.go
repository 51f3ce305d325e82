package codec_test

import (
	"slices"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/codec"
)

func TestPoolSaysWhatItsChildrenDo(t *testing.T) {
	p := newPool(t, dedicated)
	// check compares what the children do, apart from times, memory and process ids.
	check := func(when string, want ...codec.Child) {
		t.Helper()
		got := p.Children()
		for i := range got {
			if got[i].PID == 0 || got[i].Resident == 0 || time.Since(got[i].Since) < 0 {
				t.Errorf("%s: %+v", when, got[i])
			}
			got[i].PID, got[i].Resident, got[i].Since = 0, 0, time.Time{}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	check("at the start", codec.Child{})
	inner := &nested{then: func() error {
		check("with two images", codec.Child{Busy: true, Work: "upload"}, codec.Child{Background: true, Busy: true, Work: "set"})
		return nil
	}}
	outer := &nested{then: func() error {
		_, err := p.Background().Render(codec.Named(t.Context(), "set"), source(t, "ok"), recipe, wide, inner)
		return err
	}}
	if _, err := p.Render(codec.Named(t.Context(), "upload"), source(t, "ok"), recipe, wide, outer); err != nil {
		t.Fatal(err)
	}
	check("after them", codec.Child{Images: 1}, codec.Child{Background: true, Images: 1})
	p.BackgroundIdleFor(time.Minute)
	p.CheckIdle()
	check("after a rest", codec.Child{Images: 1})
	last := &nested{then: func() error {
		check("alone", codec.Child{Images: 1}, codec.Child{Busy: true, Work: "again"})
		return nil
	}}
	if _, err := p.Alone().Render(codec.Named(t.Context(), "again"), source(t, "ok"), recipe, wide, last); err != nil {
		t.Fatal(err)
	}
	check("in the end", codec.Child{Images: 1})
}
