package main

import (
	"fmt"
	"math"
	"slices"
)

// spread is the result of all rounds. On a shared machine the median is the
// result, and the distance of the two ends shows how far to trust it.
type spread struct{ Median, Min, Max float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	return spread{quantile(values, 0.5), slices.Min(values), slices.Max(values)}
}

// String has as many digits as a ratio needs.
func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Min, s.Max) }

// quantile is the value that a part q of all values do not exceed, between two
// of them where it falls there.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (sorted[above]-sorted[below])*(at-float64(below))
}

// ratios divides what was measured in the same round.
func ratios(ours, theirs []float64) []float64 {
	all := make([]float64, len(ours))
	for i := range ours {
		all[i] = ours[i] / theirs[i]
	}
	return all
}

// geometric is the mean of ratios: twice and half cancel out.
func geometric(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
