package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// The tests see no configuration of this machine or of the user.
func init() {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "OPTIMIZERD_") {
			_ = os.Unsetenv(name) // the name is valid
		}
	}
	_ = os.Setenv(config.FileVariable, "")
}

// tokenFile returns the path of a file with these tokens.
func tokenFile(t *testing.T, tokens ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(strings.Join(tokens, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
