// Package codec is the wall around the picture decoders, which take bytes
// from strangers and are written in C.
//
// An Engine runs only in child processes of a binary of its own. The daemon
// holds a Pool of them: warm, one job at a time each, replaced when they die.
// Parent and child speak over one inherited socket (see wire.go): the child
// gets the source as a read-only descriptor and sends pictures back as bytes,
// so it needs no right to open any file, and every name on disk is the
// parent's choice.
//
// The package knows nothing of libvips: cmd/optimizerd-codec hands Serve the
// engine of package imaging. It keeps nothing on disk and tries nothing twice:
// what a crash means for a job is package jobs's to say.
package codec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Protocol is the version of the words on the socket.
const Protocol = 2

// Engine makes the ladder of one source: every planned variant goes to the
// sink, in any order, as soon as it is made. Errors are faults. Render may
// read src from anywhere but does not close it.
type Engine interface {
	Render(ctx context.Context, src *os.File, recipe ladder.Recipe, limits ladder.Limits, sink ladder.Sink) (ladder.Summary, error)
}

// A pool is an engine, behind a wall.
var _ Engine = (*Pool)(nil)

// About is how a child introduces itself.
type About struct {
	Protocol int             `json:"protocol"`
	Engine   int             `json:"engine"`  // ladder.EngineVersion
	Version  string          `json:"version"` // of the binary
	Bimg     string          `json:"bimg"`
	Libvips  string          `json:"libvips"` // the library at run time
	Inputs   []string        `json:"inputs"`
	Outputs  []ladder.Format `json:"outputs"`
	Off      []string        `json:"off"`    // what its self-test switched off: "read heic", "write avif"
	Vector   bool            `json:"vector"` // libvips uses vector instructions
	Sandbox  Sandbox         `json:"sandbox"`
}

// Sandbox is which walls hold around a child, by its own word.
type Sandbox struct {
	Memory   int64 `json:"memory"`   // bytes of private memory at most; 0 without a limit
	Seccomp  bool  `json:"seccomp"`  // system calls are filtered
	Landlock int   `json:"landlock"` // the kernel's ABI; 0 where it has none
}

// check refuses a child of another build than the parent's.
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

// program is the name of the child's program.
const program = "optimizerd-codec"

// Find returns the path of the child's program: the configured one, or that
// beside the running program or in the libexec folder of its prefix.
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
