package codec

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestAChildsReportsAreHeldAgainstBounds(t *testing.T) {
	limits := ladder.Limits{MaxPixels: 1000, MaxFrames: 5, MaxMemory: 1 << 30}
	recipe := ladder.DefaultConfig().Recipe()
	source := func(w, h, frames int) reply {
		return reply{Opened: &ladder.Source{Format: "gif", Width: w, Height: h, Frames: frames}}
	}
	failed := func(detail string) reply {
		return reply{Failed: &failure{Code: fault.CorruptImage, Detail: detail}}
	}
	for name, test := range map[string]struct {
		reply reply
		valid bool
	}{
		"a source":              {source(20, 10, 5), true},
		"at the limit":          {source(20, 10, 5), true},
		"too many pixels":       {source(20, 11, 5), false},
		"too many frames":       {source(1, 1, 6), false},
		"pixels that overflow":  {source(1<<31, 1<<31, 4), false},
		"a size of 2^62":        {source(1<<62, 1, 1), false},
		"the greatest":          {source(math.MaxInt, math.MaxInt, math.MaxInt), false},
		"no width":              {source(0, 10, 1), false},
		"a negative height":     {source(10, -10, 1), false},
		"no frames":             {source(10, 10, 0), false},
		"a sentence":            {failed("The JPEG image is damaged."), true},
		"an empty sentence":     {failed(""), false},
		"a long sentence":       {failed(strings.Repeat("x", 501)), false},
		"a sentence of lines":   {failed("The image\nis damaged."), false},
		"a sentence of escapes": {failed("\x1b[31mdamaged"), false},
		"a broken sentence":     {failed("damaged \xff"), false},
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
	f := failure{Code: fault.CorruptImage, Detail: "Damaged.", Cause: strings.Repeat("x", 1<<16)}
	if got := len(f.fault().Error()); got > maxCause+200 {
		t.Errorf("a cause of %d bytes goes into the log", got)
	}
}
