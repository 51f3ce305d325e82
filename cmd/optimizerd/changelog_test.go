package main

import (
	"regexp"
	"strings"
	"testing"
)

// TestChangelogSaysNothingTwice finds entries that a merge has brought back.
func TestChangelogSaysNothingTwice(t *testing.T) {
	page := string(read(t, "../../CHANGELOG.md"))
	entry := regexp.MustCompile(`(?m)^- .*\n(?:  .*\n)*`)
	for _, version := range strings.Split(page, "\n## ")[1:] {
		seen := make(map[string]bool)
		for _, text := range entry.FindAllString(version, -1) {
			// The first words: one of two may have been shortened since.
			words := strings.Fields(text)
			key := strings.Join(words[:min(len(words), 8)], " ")
			if seen[key] {
				t.Errorf("two entries begin %q", key)
			}
			seen[key] = true
		}
	}
}
