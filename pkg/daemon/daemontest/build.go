package daemontest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/optimizerd/optimizerd/pkg/leaktest"
	"github.com/optimizerd/optimizerd/pkg/tunnel/edgetest"
)

var seedFlag = flag.Uint64("chaos.seed", 1, "seed of every random choice")

// Seed returns the seed of all random choices of a test, and logs it: it is shown
// with -v, and when the test fails.
func Seed(t *testing.T) uint64 {
	t.Helper()
	t.Logf("random choices follow from -chaos.seed=%d", *seedFlag)
	return *seedFlag
}

// Main is a package's TestMain: it builds optimizerd-codec for all tests of
// the package, and fails if they leave a goroutine behind.
func Main(m *testing.M) {
	// Many tests wait for a clock rather than compute; -parallel overrides this.
	err := flag.Set("test.parallel", "8")
	if err == nil {
		_, err = Codec()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(leaktest.Settle(m, edgetest.Leftover()), edgetest.Leftover(), goleak.Cleanup(func(code int) {
		if dir, err := BuildDir(); err == nil {
			os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}

// BuildDir is the directory of programs built for the tests; Main deletes it.
var BuildDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "optimizerd-test-") })

// Codec is the codec's binary, built on first use, and Optimizerd the daemon's.
// Hostile is a compromised codec, Standin a stub that makes small files instantly.
// Racy is the daemon built with the race detector.
var (
	Codec      = sync.OnceValues(func() (string, error) { return build("cmd/optimizerd-codec", "1") })
	Optimizerd = sync.OnceValues(func() (string, error) { return build("cmd/optimizerd", "0") })
	Racy       = sync.OnceValues(func() (string, error) { return build("cmd/optimizerd", "1", "-race", "-buildmode=exe") })
	Hostile    = sync.OnceValues(func() (string, error) { return build("pkg/daemon/daemontest/hostile", "1") })
	Standin    = sync.OnceValues(func() (string, error) { return build("pkg/daemon/daemontest/standin", "0") })
)

// build uses the compiler flags of `make build`, so that its build cache is reused
// and tests do not wait for the compiler.
func build(program, cgo string, flags ...string) (string, error) {
	dir, err := BuildDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, filepath.Base(program)+strings.Join(flags, ""))
	args := append([]string{"build", "-trimpath", "-buildmode=pie", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, "github.com/optimizerd/optimizerd/"+program)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s\nbuild %s: %w: install its dependencies: make deps", out, program, err)
	}
	return path, nil
}
