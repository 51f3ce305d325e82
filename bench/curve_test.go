package main

import (
	"math"
	"testing"
)

func TestBytesAreComparedAtEqualDistance(t *testing.T) {
	at := func(bytes, distance float64) point {
		return point{0, bytes, map[string]float64{"metric": distance}}
	}
	theirs := curve{at(400, 10), at(100, 30), at(200, 20)} // doubles for each 10
	for _, c := range []struct{ distance, bytes float64 }{
		{10, 400},
		{20, 200},
		{25, 200 / math.Sqrt2},
		{40, 50},
		{0, 800},
	} {
		if got := theirs.bytesAt("metric", c.distance); math.Abs(got-c.bytes) > 1e-6 {
			t.Errorf("at a distance of %v: %v bytes, want %v", c.distance, got, c.bytes)
		}
	}
	// As many bytes as theirs, but half as far: theirs would take four times as many.
	if got := at(100, 10).equalBytes(theirs)["metric"]; math.Abs(got-0.25) > 1e-9 {
		t.Errorf("to theirs at equal distance: %v, want 0.25", got)
	}
	if got := at(100, 10).equalBytes(curve{at(1, 2)})["metric"]; !math.IsNaN(got) {
		t.Errorf("to a single file: %v, want no number", got)
	}
}
