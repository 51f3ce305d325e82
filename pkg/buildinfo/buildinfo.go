// Package buildinfo says which build this is. Both binaries ask it, so that
// they can tell whether they belong together.
package buildinfo

import "runtime/debug"

// version is set by the linker for a release that is built outside git:
// -ldflags "-X github.com/optimizerd/optimizerd/pkg/buildinfo.version=1.2.3".
var version string

// Version is the release, or what the go command knows of the commit.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// Dependency is the version of a module that is linked in, or "".
func Dependency(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}
