package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestREADMEClaimsAreProven looks up the tests, files and targets that
// docs/claims.md names.
func TestREADMEClaimsAreProven(t *testing.T) {
	page := string(read(t, "../../docs/claims.md"))
	tests := allTests(t)
	makefile := string(read(t, "../../Makefile"))
	named := 0
	for _, m := range regexp.MustCompile("`(Test\\w+|make [a-z0-9-]+|worker/[^`]+)`(?:: \"([^\"]+)\")?").FindAllStringSubmatch(page, -1) {
		named++
		name, title := m[1], m[2]
		target, made := strings.CutPrefix(name, "make ")
		switch {
		case made:
			if !isTarget(makefile, target) {
				t.Errorf("there is no target %s", name)
			}
		case strings.HasPrefix(name, "worker/"):
			if !strings.Contains(string(read(t, "../../"+name)), title) {
				t.Errorf("%s has no test %q", name, title)
			}
		case !tests[name]:
			t.Errorf("there is no %s", name)
		}
	}
	if named < 40 {
		t.Errorf("%d proofs were found", named)
	}
}

// allTests returns the names of the tests of all packages.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	names := make(map[string]bool)
	for _, root := range []string{"..", "../../pkg"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range function.FindAllStringSubmatch(string(source), -1) {
				names[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
