// Package daemon_test runs the whole service: the daemon in this process, and
// real optimizerd-codec children with real libvips. Every answer is held
// against the daemon's own /openapi.json on its way to the test.
package daemon_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
)

func TestMain(m *testing.M) {
	if orders := os.Getenv(mortalEnv); orders != "" {
		fmt.Fprintln(os.Stderr, liveAndDie(orders))
		os.Exit(1)
	}
	daemontest.Main(m)
}
