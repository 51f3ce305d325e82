package main

import (
	"math"
	"testing"
)

func TestSpreadIsTheMedianAndTheEnds(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 8}, spread{3, 1, 8}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
}

func TestSpreadLeavesTheRoundsInTheirOrder(t *testing.T) {
	rounds := []float64{3, 1, 2}
	spreadOf(rounds)
	if rounds[0] != 3 || rounds[1] != 1 || rounds[2] != 2 {
		t.Errorf("the rounds are now %v: they could not be paired any more", rounds)
	}
}

func TestQuantilesLieBetweenValues(t *testing.T) {
	values := []float64{10, 30, 20, 40, 50}
	for q, want := range map[float64]float64{0: 10, 0.5: 30, 0.99: 49.6, 1: 50} {
		if got := quantile(values, q); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
}

func TestRatiosAreMadeWithinARound(t *testing.T) {
	// The machine was half as fast in the second round: both saw it.
	got := spreadOf(ratios([]float64{1, 2}, []float64{4, 8}))
	if want := (spread{0.25, 0.25, 0.25}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestMeanOfTwiceAndHalfIsOne(t *testing.T) {
	if got := geometric([]float64{2, 0.5}); math.Abs(got-1) > 1e-9 {
		t.Errorf("%v, want 1", got)
	}
}
