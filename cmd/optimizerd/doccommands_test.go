package main

import (
	"go/build/constraint"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	docTarget = regexp.MustCompile("`make\\s([a-z][a-z0-9-]+)")
	docScript = regexp.MustCompile("`(?:sudo )?(scripts/[\\w-]+)")
	docGoTest = regexp.MustCompile(`go test ([^\n` + "`" + `]*)`)
	docRun    = regexp.MustCompile(`-run[ =]'?([^' ]+)`)
	docTags   = regexp.MustCompile(`-tags[ =](\S+)`)
	docDir    = regexp.MustCompile(`\./(?:cmd|pkg)[\w/.-]*`)
)

// TestCommandsOfTheDocsExist looks up what the pages tell readers to run: the
// targets of make, the scripts, the packages of go test and the tests in them.
func TestCommandsOfTheDocsExist(t *testing.T) {
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
		built := 0
		for _, file := range files {
			source := string(read(t, file))
			if !isBuilt(t, source, command) {
				continue
			}
			built++
			names.WriteString(strings.Join(regexp.MustCompile(`(?m)^func (?:Test|Fuzz)\w+`).FindAllString(source, -1), "\n") + "\n")
		}
		if built == 0 {
			t.Errorf("%s: go test %s: the tests in %s need a tag", page, command, dir)
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

// isBuilt reports whether the tags of a go test command are those that a file needs.
func isBuilt(t *testing.T, source, command string) bool {
	t.Helper()
	line, _, _ := strings.Cut(source, "\n")
	if !constraint.IsGoBuild(line) {
		return true
	}
	needs, err := constraint.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	if m := docTags.FindStringSubmatch(command); m != nil {
		tags = strings.Split(m[1], ",")
	}
	return needs.Eval(func(tag string) bool { return tag == "linux" || slices.Contains(tags, tag) })
}

// wholeName turns a pattern of -run into one for a whole name.
func wholeName(pattern string) string {
	if rest, anchored := strings.CutPrefix(pattern, "^"); anchored {
		return rest
	}
	return `\w*` + pattern
}
