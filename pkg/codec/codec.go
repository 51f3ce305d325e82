// Package codec isolates the image decoders, which are written in C and process
// untrusted input.
//
// An Engine runs only in child processes of a separate binary. The daemon has a
// Pool of them: kept warm, one job at a time each, replaced when they die.
// Parent and child communicate over one inherited socket (see wire.go): the
// child receives the source as a read-only descriptor and returns variants as
// bytes, so it needs no permission to open files, and the parent chooses every
// name on disk.
//
// The package does not know libvips: cmd/optimizerd-codec passes the engine of
// package imaging to Serve. It stores nothing and retries nothing: package
// render decides what a crash means for an image.
package codec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Protocol is the version of the wire protocol.
const Protocol = 2

// Engine renders the ladder of one source: it passes every planned variant to
// the sink, in any order, as soon as it is encoded. Errors are faults. Render
// may read src from any offset and does not close it. If it returns Unavailable
// before it calls the sink, earlier sources have left too little memory for this one,
// and a fresh process may be able to render it.
type Engine interface {
	Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error)
}

var _ Engine = (*Pool)(nil)

// About describes a child, as sent in its greeting.
type About struct {
	Protocol int             `json:"protocol"`
	Engine   int             `json:"engine"`  // ladder.EngineVersion
	Version  string          `json:"version"` // version of the binary
	Bimg     string          `json:"bimg"`
	Libvips  string          `json:"libvips"` // libvips version at run time
	Inputs   []string        `json:"inputs"`
	Outputs  []ladder.Format `json:"outputs"`
	Off      []string        `json:"off"`    // features that failed the self-test: "read heic", "write avif"
	Vector   bool            `json:"vector"` // libvips uses vector instructions
	Sandbox  Sandbox         `json:"sandbox"`
}

// String is the form in a terminal's log.
func (a About) String() string { return a.Version + ", libvips " + a.Libvips }

// Sandbox describes the active protections of a child, as reported by it.
type Sandbox struct {
	Memory   int64 `json:"memory"`   // limit on private memory, bytes; 0 for none
	Seccomp  bool  `json:"seccomp"`  // system calls are filtered
	Landlock int   `json:"landlock"` // ABI version of the kernel; 0 if unsupported
}

// check reports whether the child is from another build than the parent.
func (a About) check(version string) error {
	switch {
	case a.Protocol != Protocol || a.Engine != ladder.EngineVersion:
		return fmt.Errorf("optimizerd-codec speaks protocol %d with engine %d, this daemon %d with %d: install both binaries from one build",
			a.Protocol, a.Engine, Protocol, ladder.EngineVersion)
	case a.Version != version && released(a.Version) && released(version):
		return fmt.Errorf("optimizerd-codec is version %s, this daemon %s: install both binaries from one build", a.Version, version)
	}
	return nil
}

func released(version string) bool { return version != "" && version != "(devel)" }

// program is the file name of the child's binary.
const program = "optimizerd-codec"

// Find returns the path of the child's binary: the configured one, or one next
// to the running binary or in the libexec directory of its prefix.
func Find(configured string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", program, err)
	}
	dir := filepath.Dir(self)
	candidates := []string{filepath.Join(dir, program), filepath.Join(dir, "..", "libexec", "optimizerd", program)}
	if configured != "" {
		candidates = []string{configured}
	}
	i := slices.IndexFunc(candidates, func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	})
	if i < 0 {
		return "", fmt.Errorf("codec.path: no executable at %v: build it with 'make build', or set codec.path", candidates)
	}
	return candidates[i], nil
}
