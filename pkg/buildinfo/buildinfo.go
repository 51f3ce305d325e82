// Package buildinfo identifies the build, so that both binaries can check that
// they match.
package buildinfo

import "runtime/debug"

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
