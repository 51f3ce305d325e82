// Package buildinfo identifies the build, so that both binaries can check that
// they match.
package buildinfo

import (
	"runtime/debug"
	"time"
)

// version is set by the linker for release builds outside git: -ldflags "-X
// github.com/optimizerd/optimizerd/pkg/buildinfo.version=1.2.3".
var version string

// Version returns the release, or the module version recorded by the go
// command.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// earliest is a time before any build of this code.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Date returns the time of the commit that was built, or an earlier one if the
// build does not record it. No clock that shows less is right.
func Date() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return earliest
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				return t
			}
		}
	}
	return earliest
}
