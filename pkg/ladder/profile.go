package ladder

import (
	"maps"
	"slices"
)

// The profiles. docs/performance.md compares them.
const (
	DefaultProfile    = "default"
	SmallFilesProfile = "small-files" // AVIF as well, where it is smaller than WebP
	SmallBoardProfile = "small-board" // AVIF instead of WebP at large widths
)

// largeRungs is where AVIF at effort 0 begins to be smaller than WebP.
const largeRungs = 1280

// profiles are the settings in which they differ from DefaultConfig.
var profiles = map[string]func(*Config){
	DefaultProfile: func(*Config) {},
	SmallFilesProfile: func(c *Config) {
		c.Formats = []Format{WebP, JPEG, AVIF}
		c.FormatWidths.AVIF.From = largeRungs
	},
	SmallBoardProfile: func(c *Config) {
		c.Formats = []Format{WebP, JPEG, AVIF}
		c.FormatWidths.AVIF.From = largeRungs
		c.FormatWidths.WebP.To = largeRungs - 1
	},
}

// Profiles returns the names of the profiles, sorted.
func Profiles() []string { return slices.Sorted(maps.Keys(profiles)) }

// ProfileConfig returns the defaults of a profile, or of the default profile for
// an unknown name.
func ProfileConfig(name string) Config {
	c := DefaultConfig()
	if set, ok := profiles[name]; ok {
		set(&c)
		c.Profile = name
	}
	return c
}
