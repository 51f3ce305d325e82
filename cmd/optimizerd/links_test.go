package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	codeBlock = regexp.MustCompile("(?ms)^```.*?^```")
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchors returns the anchors of a page's headings, as the site of the
// repository makes them.
func anchors(page string) (found []string) {
	for _, heading := range mdHeading.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		found = append(found, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1]))
	}
	return found
}

// pages returns the paths of all pages of the documentation.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if strings.HasPrefix(name, ".") && name != ".." || name == "node_modules" || name == "dist" {
				return fs.SkipDir
			}
		case filepath.Ext(name) == ".md" && path != "../../bench/notes.md": // part of docs/performance.md
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// follow returns an error if a link of a page leads to no file, or to no heading.
func follow(page, link string) error {
	file, anchor, _ := strings.Cut(link, "#")
	target := page
	if file != "" {
		target = filepath.Join(filepath.Dir(page), file)
	}
	if _, err := os.Stat(target); err != nil {
		return fmt.Errorf("%s leads nowhere", link)
	}
	if anchor == "" {
		return nil
	}
	if text, err := os.ReadFile(target); err != nil || !slices.Contains(anchors(string(text)), anchor) {
		return fmt.Errorf("%s leads to no heading", link)
	}
	return nil
}

// TestLinksOfTheDocumentationLeadSomewhere checks the links from page to page,
// and to the headings in them.
func TestLinksOfTheDocumentationLeadSomewhere(t *testing.T) {
	links := 0
	for _, page := range pages(t) {
		text := codeBlock.ReplaceAllString(string(read(t, page)), "")
		for _, link := range mdLink.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], ":") {
				continue // not on this site
			}
			links++
			if err := follow(page, link[1]); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links were found", links)
	}
}
