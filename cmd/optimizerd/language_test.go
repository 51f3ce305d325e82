package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// plainWord is a word that this repository does not use, as a regular
// expression that matches whole words in any case, with its replacement.
type plainWord struct {
	pattern *regexp.Regexp
	instead string
}

func instead(words, replacement string) plainWord {
	// In a comment, two words may stand on two lines.
	words = strings.ReplaceAll(words, " ", `[\s/*#]+`)
	return plainWord{regexp.MustCompile(`(?i)\b(?:` + words + `)\b`), replacement}
}

// anyPlainWord matches whatever one of plainWords does: most texts contain none
// of them, and are searched once.
var anyPlainWord = sync.OnceValue(func() *regexp.Regexp {
	var patterns []string
	for _, word := range plainWords {
		patterns = append(patterns, word.pattern.String())
	}
	return regexp.MustCompile(strings.Join(patterns, "|"))
})

var plainWords = []plainWord{
	instead("amiss", "wrong"),
	instead("anew", "again"),
	instead("in earnest", "for real"),
	instead("(on|upon) wish", "optional"),
	instead("(un)?mend(s|ed|ing)?", "fix"),
	instead("hush(es|ed)?", "stop"),
	instead("as ever", "as usual"),
	instead("knock(s|ed|ing)? (at|on)", "reach"),
	instead("telling|(un)?told", "deliver, report or print"),
	instead("colour(s|ed|ing|ful|less)?", "color"),
	{regexp.MustCompile(`\bfunc Test\w*(?:Told|Tells|Mend|Wish|Hush|Knock)`), "Reports, Delivers, Fixes, Optional or the like"},
	// A list of tests is read as a table of contents.
	{regexp.MustCompile(`\bfunc Test(?:Fleet|S3|Chaos)?(?:A|An|The|What|Every|Without|Nothing)[A-Z][a-z]`), "a name that starts with its subject"},
}

// findWords returns the words of text that have a replacement, by line.
func findWords(text string) []string {
	if !anyPlainWord().MatchString(text) {
		return nil
	}
	var found []string
	for _, word := range plainWords {
		for _, at := range word.pattern.FindAllStringIndex(text, -1) {
			line := 1 + strings.Count(text[:at[0]], "\n")
			found = append(found, fmt.Sprintf("%d: %q: write %s", line, text[at[0]:at[1]], word.instead))
		}
	}
	return found
}

func TestWordsWithAReplacementAreFound(t *testing.T) {
	for text, want := range map[string][]string{
		"Color images again; intellect, recommend, shush": nil,
		"ok\nWhat is Amiss here":                          {`2: "Amiss": write wrong`},
		"// it begins in\n// earnest":                     {`1: "in\n// earnest": write for real`},
		"func TestAQueueIsEmpty(":                         {`1: "func TestAQu": write a name that starts with its subject`},
		"func TestAPNGIsTaken(":                           nil,
		"untold\nKnocking at it, mended":                  {`2: "mended": write fix`, `2: "Knocking at": write reach`, `1: "untold": write deliver, report or print`},
	} {
		if found := findWords(text); !slices.Equal(found, want) {
			t.Errorf("%q: %q, want %q", text, found, want)
		}
	}
}

// TestTextIsInPlainEnglish reads the source code, comments, scripts and
// documentation of the whole repository. What the commands print stands in
// their source code.
func TestTextIsInPlainEnglish(t *testing.T) {
	var (
		foreign    = []string{"node_modules", "bin", "dist", "generated", "testdata", "testimages", "samples"}
		extensions = []string{"", ".go", ".c", ".h", ".ts", ".tsx", ".mjs", ".js", ".css", ".html", ".sh", ".md", ".tmpl", ".yaml", ".yml", ".toml", ".json", ".jsonc", ".service", ".sql"}
		files      int
	)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if hidden := strings.HasPrefix(name, ".") && name != ".." && name != ".github"; hidden || slices.Contains(foreign, name) {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular(), name == "LICENSE", name == "language_test.go", strings.HasPrefix(name, "."),
			name == "package-lock.json", !slices.Contains(extensions, filepath.Ext(name)):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, found := range findWords(string(text)) {
			t.Errorf("%s:%s", strings.TrimPrefix(path, "../../"), found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 200 {
		t.Errorf("%d files were read", files)
	}
}
