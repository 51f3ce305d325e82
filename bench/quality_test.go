package main

import (
	"math"
	"testing"
)

func TestSamplesAreComparedFileByFile(t *testing.T) {
	ours := joined([]sample{
		{[]float64{100}, map[string][]float64{"distance": {1, 2}}},
		{[]float64{200}, map[string][]float64{"distance": {3, 4}}},
	})
	theirs := joined([]sample{
		{[]float64{200}, map[string][]float64{"distance": {2, 4}}},
		{[]float64{100}, map[string][]float64{"distance": {6, 8}}},
	})
	r := ours.to(theirs)
	// Half of one photo and twice of the other are as much as each other.
	if math.Abs(r.Bytes-1) > 1e-9 || math.Abs(r.Distance["distance"]-0.5) > 1e-9 {
		t.Errorf("%+v, want as many bytes at half the distance", r)
	}
}
