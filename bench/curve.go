package main

import (
	"cmp"
	"math"
	"slices"
)

// point is one file of an image at one size: what it takes, and how far it is
// from the reference.
type point struct {
	Quality  int // of a curve's
	Bytes    float64
	Distance map[string]float64 // by metric
}

// curve is the same image at several qualities.
type curve []point

// bytesAt returns how many bytes the curve's encoder takes for a distance, by
// one metric: the logarithm of the bytes is taken to be linear in the distance.
func (c curve) bytesAt(metric string, distance float64) float64 {
	return math.Exp(c.at(metric, distance, func(p point) float64 { return math.Log(p.Bytes) }))
}

// qualityAt returns the quality that gives a distance, by one metric.
func (c curve) qualityAt(metric string, distance float64) float64 {
	return c.at(metric, distance, func(p point) float64 { return float64(p.Quality) })
}

// at returns a value at a distance, linear between two points and beyond the
// outermost ones; NaN with fewer than two points.
func (c curve) at(metric string, distance float64, value func(point) float64) float64 {
	if len(c) < 2 {
		return math.NaN()
	}
	points := slices.SortedFunc(slices.Values(c), func(a, b point) int {
		return cmp.Compare(a.Distance[metric], b.Distance[metric])
	})
	above := 1
	for above < len(points)-1 && points[above].Distance[metric] < distance {
		above++
	}
	a, b := points[above-1], points[above]
	part := (distance - a.Distance[metric]) / (b.Distance[metric] - a.Distance[metric])
	return value(a) + part*(value(b)-value(a))
}

// equalBytes is a file's bytes to those of a curve's encoder at the distance of
// the file, by each metric.
func (p point) equalBytes(c curve) map[string]float64 {
	ratios := make(map[string]float64)
	for metric, distance := range p.Distance {
		ratios[metric] = p.Bytes / c.bytesAt(metric, distance)
	}
	return ratios
}
