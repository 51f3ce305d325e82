package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Style controls how a report is printed.
type Style struct {
	Color bool
	Width int // columns; 0 disables wrapping
}

var colors = map[Status]string{OK: "\x1b[32m", Warn: "\x1b[33m", Fail: "\x1b[31m"}

// Print writes the report as text: one line per finding, its advice below, and
// a summary at the end.
func (r Report) Print(w io.Writer, style Style) error {
	const gap = 2
	name := 0
	for _, f := range r.Findings {
		name = max(name, utf8.RuneCountInString(f.Check))
	}
	indent := len(Warn) + gap + name + gap
	var b strings.Builder
	mark := func(s Status) string {
		padded := fmt.Sprintf("%-*s", len(Warn), s)
		if style.Color {
			return colors[s] + padded + "\x1b[0m"
		}
		return padded
	}
	for _, f := range r.Findings {
		lines := wrap(f.Found, style.Width-indent)
		if f.Advice != "" {
			for i, line := range wrap(f.Advice, style.Width-indent-2) {
				lines = append(lines, map[bool]string{true: "→ ", false: "  "}[i == 0]+line)
			}
		}
		for i, line := range lines {
			if i == 0 {
				fmt.Fprintf(&b, "%s  %-*s  %s\n", mark(f.Status), name, f.Check, line)
			} else {
				fmt.Fprintf(&b, "%*s%s\n", indent, "", line)
			}
		}
	}
	fmt.Fprintf(&b, "\n%s  %s\n", mark(r.Status), r.sum())
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) sum() string {
	warnings, failures := r.count(Warn), r.count(Fail)
	switch {
	case failures > 0:
		return plural(failures, "failure") + ", " + plural(warnings, "warning")
	case warnings > 0:
		return "OK, " + plural(warnings, "warning")
	default:
		return "no problems found"
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// wrap breaks text into lines at spaces; it does not break at widths that are
// too small. Unprintable characters are removed, since parts of the text come
// from other programs and could control the terminal.
func wrap(text string, width int) []string {
	const least = 20
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	words := strings.Fields(text)
	if width < least || len(words) == 0 {
		return []string{strings.Join(words, " ")}
	}
	lines, line := []string{}, words[0]
	for _, word := range words[1:] {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), word
			continue
		}
		line += " " + word
	}
	return append(lines, line)
}
