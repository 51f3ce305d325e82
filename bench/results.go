package main

import (
	"slices"
	"time"
)

// results are all figures of a run. What was not measured is empty.
type results struct {
	Date        time.Time
	Contestants []string
	Machine     machine
	Rounds      int
	LoadSeconds float64
	Ladder      []ladderResult
	Quality     []qualityRow
	Memory      *memoryResult
	Load        []loadResult
	Serving     *servingResult
	Effort      []effortResult
	AVIF        []avifResult
	Profiles    []profileResult
}

// about notes what a contestant says of itself.
func (r *results) about(text string) {
	if !slices.Contains(r.Contestants, text) {
		r.Contestants = append(r.Contestants, text)
	}
}
