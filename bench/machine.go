package main

import (
	"context"
	"os"
	"regexp"
	"runtime"
	"strings"
)

// machine is where the figures come from.
type machine struct {
	CPU, Architecture string
	Cores             int
	System, Kernel    string
	Load              string   // average of the last minute before: other work
	Packages          []string // of this system, with versions
}

// packages are what decides the figures beside our own code; their names change
// a little from one Debian to the next.
var packages = []string{"libvips42*", "libwebp7", "libjpeg62-turbo", "libaom3", "nginx", "libjxl-devtools"}

func describeMachine(ctx context.Context) (m machine, err error) {
	m.Cores, m.Architecture, m.CPU = runtime.NumCPU(), runtime.GOARCH, "an unknown processor"
	// x86 calls it "model name"; a Raspberry Pi tells the board, as "Model".
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if found := regexp.MustCompile(`(?m)^(?:model name|Model)\s*: (.*)$`).FindSubmatch(info); found != nil {
			m.CPU = string(found[1])
		}
	}
	kernel, err := output(ctx, "uname", "-sr")
	if err != nil {
		return m, err
	}
	m.Kernel, _, _ = strings.Cut(kernel, "-") // what follows is who built it
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return m, err
	}
	if found := regexp.MustCompile(`(?m)^PRETTY_NAME="(.*)"$`).FindSubmatch(release); found != nil {
		m.System = string(found[1])
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return m, err
	}
	m.Load, _, _ = strings.Cut(string(load), " ")
	// Those that are not there make it fail, after it has reported the others.
	installed, _ := output(ctx, "sh", append([]string{"-c", `dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' "$@" 2>/dev/null || true`, "sh"}, packages...)...)
	for line := range strings.Lines(installed) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "installed "); ok {
			m.Packages = append(m.Packages, name)
		}
	}
	return m, nil
}
