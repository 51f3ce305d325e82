package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	docTarget = regexp.MustCompile("`make\\s([a-z][a-z0-9-]+)")
	docScript = regexp.MustCompile("`(?:sudo )?(scripts/[\\w-]+)")
	docGoTest = regexp.MustCompile(`go test ([^\n` + "`" + `]*)`)
	docRun    = regexp.MustCompile(`-run[ =]'?([^' ]+)`)
	docDir    = regexp.MustCompile(`\./(?:cmd|pkg)[\w/.-]*`)
)

// TestTheCommandsOfTheDocsExist looks up what the pages tell readers to run: the
// targets of make, the scripts, the packages of go test and the tests in them.
func TestTheCommandsOfTheDocsExist(t *testing.T) {
	makefile := string(read(t, "../../Makefile"))
	commands := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/decisions/*.md", "../../worker/*.md"} {
		pages, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range pages {
			page := string(read(t, path))
			for _, m := range docTarget.FindAllStringSubmatch(page, -1) {
				commands++
				if !isTarget(makefile, m[1]) {
					t.Errorf("%s: there is no make %s", path, m[1])
				}
			}
			for _, m := range docScript.FindAllStringSubmatch(page, -1) {
				commands++
				if _, err := os.Stat("../../" + m[1]); err != nil {
					t.Errorf("%s: there is no %s", path, m[1])
				}
			}
			for _, m := range docGoTest.FindAllStringSubmatch(page, -1) {
				commands++
				checkGoTest(t, path, strings.ReplaceAll(m[1], `\|`, "|"))
			}
		}
	}
	if commands < 100 {
		t.Errorf("%d commands were found", commands)
	}
}

// isTarget reports whether a Makefile has a target of this name.
func isTarget(makefile, name string) bool {
	return regexp.MustCompile(`(?m)^(?:[a-z0-9-]+ )*` + name + `(?: [a-z0-9-]+)*:`).MatchString(makefile)
}

// checkGoTest checks that the packages of a go test command exist, and that each
// alternative of its -run names a test of them.
func checkGoTest(t *testing.T, page, command string) {
	t.Helper()
	var names strings.Builder
	for _, dir := range docDir.FindAllString(command, -1) {
		dir, all := strings.CutSuffix(strings.TrimRight(dir, "./"), "/...")
		files, err := filepath.Glob("../../" + dir + "/*_test.go")
		if all {
			deeper, _ := filepath.Glob("../../" + dir + "/*/*_test.go")
			files = append(files, deeper...)
		}
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no tests in %s", page, dir)
		}
		for _, file := range files {
			names.WriteString(strings.Join(regexp.MustCompile(`(?m)^func (?:Test|Fuzz)\w+`).FindAllString(string(read(t, file)), -1), "\n") + "\n")
		}
	}
	run := docRun.FindStringSubmatch(command)
	if run == nil || names.Len() == 0 || strings.HasPrefix(run[1], "^$") {
		return
	}
	for alternative := range strings.SplitSeq(strings.Split(run[1], "/")[0], "|") {
		if !regexp.MustCompile(`(?m)^func ` + wholeName(alternative)).MatchString(names.String()) {
			t.Errorf("%s: go test %s runs no test", page, command)
		}
	}
}

// wholeName turns a pattern of -run into one for a whole name.
func wholeName(pattern string) string {
	if rest, anchored := strings.CutPrefix(pattern, "^"); anchored {
		return rest
	}
	return `\w*` + pattern
}
