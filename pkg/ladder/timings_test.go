package ladder_test

import (
	"bytes"
	"maps"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

func TestTimingsAddUp(t *testing.T) {
	a := ladder.Timings{ladder.StageHash: time.Millisecond, ladder.StageSync: time.Second}
	b := ladder.Timings{ladder.StageHash: 1234567}
	got := a.Plus(b).Plus(nil).Milliseconds()
	want := map[ladder.Stage]float64{ladder.StageHash: 2.234, ladder.StageSync: 1000}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(b) != 1 || a[ladder.StageHash] != time.Millisecond {
		t.Errorf("the sum changed its parts: %v, %v", a, b)
	}
}

func TestTimedWriterPassesAllOn(t *testing.T) {
	took := make(ladder.Timings)
	var to bytes.Buffer
	w := took.Writer(ladder.StageWrite, &to)
	for _, s := range []string{"ab", "", "c"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("wrote %d of %q: %v", n, s, err)
		}
	}
	if _, timed := took[ladder.StageWrite]; to.String() != "abc" || !timed {
		t.Errorf("wrote %q in %v", to.String(), took)
	}
}
