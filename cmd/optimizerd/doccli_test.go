package main

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/config"
)

var (
	docBlock = regexp.MustCompile("(?ms)^[ ]*```[a-z]*\n(.*?)^[ ]*```")
	docSpan  = regexp.MustCompile("`([^`]+)`")
	// docCLI matches optimizerd where a shell would run it, and its arguments.
	docCLI = regexp.MustCompile(`(?m)(^[ ]*|[|&;('=] ?|(?:sudo|as_service|xargs)(?: -u optimizerd| CREDENTIALS_DIRECTORY=\S+)? )(?:\S*/)?optimizerd ((?:[a-z]|--[a-z])[^|&;<>()#\n]*)`)
)

// TestCommandLinesOfTheDocsAreValid looks up the commands, flags and settings of
// each optimizerd … that the pages and the units show.
func TestCommandLinesOfTheDocsAreValid(t *testing.T) {
	c := root(&options{})
	c.InitDefaultCompletionCmd()
	lines := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/decisions/*.md", "../../worker/*.md", "../../systemd/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			for _, line := range commandLines(path, string(read(t, path))) {
				lines++
				if problem := checkCommandLine(c, line); problem != "" {
					t.Errorf("%s: optimizerd %s: %s", path, line, problem)
				}
			}
		}
	}
	if lines < 150 {
		t.Errorf("%d command lines were found", lines)
	}
}

func TestWrongCommandLineIsFound(t *testing.T) {
	c := root(&options{})
	for line, problem := range map[string]string{
		"verfy": "no such command", "jobs lst": "no such command", "backup verfy /mnt": "no such command", "backup s3://backups/pi": "", "verify --fast": "no flag --fast", "upload -k x": "no flag -k",
		"serve --set http.listne=x": "no setting http.listne", "jobs retry {ID… | --failed}": "", "upload ~/x -j 2": "",
		"import --from-list - --to URL": "", "jobs list --to URL --json": "",
	} {
		if got := checkCommandLine(c, line); got != problem {
			t.Errorf("%q: got %q, want %q", line, got, problem)
		}
	}
}

// commandLines returns the arguments of each optimizerd in the code of a page, or in
// a file that is not Markdown.
func commandLines(path, text string) (lines []string) {
	code := []string{text}
	if filepath.Ext(path) == ".md" {
		code = nil
		for _, block := range docBlock.FindAllStringSubmatch(text, -1) {
			code = append(code, strings.ReplaceAll(block[1], "\\\n", " "))
		}
		for _, span := range docSpan.FindAllStringSubmatch(docBlock.ReplaceAllString(text, ""), -1) {
			code = append(code, strings.ReplaceAll(span[1], "\n", " "))
		}
	}
	for _, part := range code {
		for _, m := range docCLI.FindAllStringSubmatch(part, -1) {
			line := m[2]
			if strings.HasSuffix(m[1], "'") {
				line, _, _ = strings.Cut(line, "'")
			}
			if !strings.HasPrefix(line, "makes a fixed ladder") { // what --help begins with
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// checkCommandLine returns what is wrong with the arguments of a command, or "".
func checkCommandLine(c *cobra.Command, line string) string {
	words := strings.Fields(strings.NewReplacer("'", "", `"`, "", "[", "", "]", "", "{", "", "}", "").Replace(line))
	found, rest, err := c.Find(words)
	if err != nil {
		return "no such command"
	}
	found.InitDefaultHelpFlag()
	found.InitDefaultVersionFlag()
	for i, word := range rest {
		switch {
		case strings.HasPrefix(word, "--"):
			if problem := checkFlag(found, rest[i:]); problem != "" {
				return problem
			}
		case strings.HasPrefix(word, "-") && len(word) > 1:
			if cmp.Or(found.Flags().ShorthandLookup(word[1:2]), found.InheritedFlags().ShorthandLookup(word[1:2])) == nil {
				return "no flag " + word[:2]
			}
		case i == 0 && found.HasSubCommands() && word[0] >= 'a' && word[0] <= 'z' && !strings.Contains(word, "://"):
			return "no such command"
		}
	}
	return ""
}

// checkFlag returns what is wrong with the flag that words begin with, or "". The
// value of --set must begin with the key of a setting.
func checkFlag(c *cobra.Command, words []string) string {
	name, value, joined := strings.Cut(words[0][2:], "=")
	if c.Flag(name) == nil {
		return "no flag --" + name
	}
	if name != "set" {
		return ""
	}
	if !joined && len(words) > 1 {
		value = words[1]
	}
	key, _, _ := strings.Cut(value, "=")
	if !slices.ContainsFunc(config.Settings(), func(s config.Setting) bool { return s.Key == key }) {
		return "no setting " + key
	}
	return ""
}
