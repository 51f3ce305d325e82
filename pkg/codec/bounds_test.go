package codec

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestChildsReportsAreHeldAgainstBounds(t *testing.T) {
	limits := ladder.Limits{MaxPixels: 1000, MaxFrames: 5, MaxMemory: 1 << 30}
	recipe := ladder.DefaultConfig().Recipe()
	source := func(w, h, frames int) reply {
		return reply{Opened: &ladder.Source{Format: "gif", Width: w, Height: h, Frames: frames}}
	}
	for name, test := range map[string]struct {
		reply reply
		valid bool
	}{
		"a source":             {source(20, 10, 5), true},
		"at the limit":         {source(20, 10, 5), true},
		"too many pixels":      {source(20, 11, 5), false},
		"too many frames":      {source(1, 1, 6), false},
		"pixels that overflow": {source(1<<31, 1<<31, 4), false},
		"a size of 2^62":       {source(1<<62, 1, 1), false},
		"the greatest":         {source(math.MaxInt, math.MaxInt, math.MaxInt), false},
		"no width":             {source(0, 10, 1), false},
		"a negative height":    {source(10, -10, 1), false},
		"no frames":            {source(10, 10, 0), false},
	} {
		s := replyState{recipe: recipe, limits: limits}
		if err := s.validate(test.reply); (err == nil) != test.valid {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := replyState{recipe: recipe, limits: limits, opened: true}
	if err := s.validate(reply{Done: &ladder.Summary{Timings: ladder.Timings{ladder.StageDecode: 25 * time.Hour}}}); err == nil {
		t.Error("a stage of 25 hours is believed")
	}
	f := failure{Code: fault.CorruptImage, Detail: "Damaged.", Cause: "a\nb\u202ec\x1b[31m\xff" + strings.Repeat("x", 1<<16)}
	if got := f.fault().Error(); len(got) > maxCause+200 || !strings.Contains(got, ": a?b?c?[31m?x") {
		t.Errorf("a cause of %d bytes, %.100q, is logged", len(got), got)
	}
}

func TestFileIsBoundedByItsPixels(t *testing.T) {
	recipe := ladder.Recipe{Widths: []int{100, 200}, Encoders: []ladder.Encoder{{Format: ladder.WebP}, {Format: ladder.JPEG}, {Format: ladder.AVIF}}}
	for _, test := range []struct {
		format       ladder.Format
		frames       int
		most, beyond int64
	}{
		{ladder.JPEG, 1, 112*112*8 + 64<<10, 112*112*8 + 64<<10 + 1},
		{ladder.JPEG, 5, 112*112*8 + 64<<10, 112*112*8 + 64<<10 + 1},
		{ladder.AVIF, 5, 112*112*8 + 64<<10, 112*112*8 + 64<<10 + 1},
		{ladder.WebP, 5, 5*112*112*8 + 64<<10, 5*112*112*8 + 64<<10 + 1},
		{ladder.WebP, 1, 1, 256 << 20},
	} {
		for _, bytes := range []int64{test.most, test.beyond} {
			s := replyState{recipe: recipe, limits: ladder.Limits{MaxPixels: 1e6, MaxFrames: 5}}
			if err := s.validate(reply{Opened: &ladder.Source{Format: "gif", Width: 200, Height: 200, Frames: test.frames}}); err != nil {
				t.Fatal(err)
			}
			err := s.validate(reply{Variant: &ladder.Variant{Format: test.format, Width: 100, Height: 100, Bytes: bytes}})
			if (err == nil) != (bytes == test.most) {
				t.Errorf("%s of %d frames with %d bytes: %v", test.format, test.frames, bytes, err)
			}
		}
	}
}
