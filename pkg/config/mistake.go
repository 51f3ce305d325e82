package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// mistake is one error in the configuration.
type mistake struct {
	source string // file, environment variable or --set; empty for a default
	line   int    // in the file; 0 elsewhere
	key    string // may have an index: ladder.widths[1]
	text   string
}

func (m mistake) Error() string {
	var b strings.Builder
	if m.source != "" {
		b.WriteString(m.source)
		if m.line > 0 {
			b.WriteString(":" + strconv.Itoa(m.line))
		}
		b.WriteString(": ")
	}
	if m.key != "" {
		b.WriteString(m.key + ": ")
	}
	return b.String() + m.text
}

func (l *loader) add(m mistake) { l.mistakes = append(l.mistakes, m) }

// failed reports whether a key with this prefix has a mistake.
func (l *loader) failed(prefix string) bool {
	return slices.ContainsFunc(l.mistakes, func(m mistake) bool { return strings.HasPrefix(m.key, prefix) })
}

var keyed = regexp.MustCompile(`^([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+(?:\[\d+\])?): (.*)`)

// collect adds what a Validate method reports: errors that begin with the key.
func (l *loader) collect(err error) {
	for _, each := range split(err) {
		m := mistake{text: each.Error()}
		if found := keyed.FindStringSubmatch(m.text); found != nil {
			m.key, m.text = found[1], found[2]
		}
		if m.key != "" && slices.ContainsFunc(l.mistakes, func(other mistake) bool { return other.key == m.key }) {
			continue // one mistake of a setting is enough
		}
		l.add(l.locate(m))
	}
}

// locate fills in the source of the key's value.
func (l *loader) locate(m mistake) mistake {
	key := withoutIndex(m.key)
	if l.set[key] {
		m.source = "--set"
		return m
	}
	if _, ok := os.LookupEnv(Variable(key)); ok && key != "" {
		m.source = Variable(key)
		return m
	}
	if line := cmp.Or(l.lines[m.key], l.lines[key]); line > 0 {
		m.source, m.line = l.file, line
	}
	return m
}

// err joins the mistakes, those of the file first and by line.
func (l *loader) err() error {
	slices.SortStableFunc(l.mistakes, func(a, b mistake) int {
		return cmp.Or(-cmp.Compare(min(a.line, 1), min(b.line, 1)), cmp.Compare(a.line, b.line))
	})
	errs := make([]error, len(l.mistakes))
	for i, m := range l.mistakes {
		errs[i] = m
	}
	return errors.Join(errs...)
}

// split returns the errors that were joined.
func split(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var errs []error
	for _, each := range joined.Unwrap() {
		errs = append(errs, split(each)...)
	}
	return errs
}

// withoutIndex returns the setting of a list item's key.
func withoutIndex(key string) string {
	key, _, _ = strings.Cut(key, "[")
	return key
}

var confidential = regexp.MustCompile(`(?i)auth|webhook|token|secret|passw|key`)

// got quotes a value for an error, unless its key looks like a secret's.
func got(key string, value any) string {
	if confidential.MatchString(key) {
		return ""
	}
	switch value.(type) {
	case []any:
		return " (got a list)"
	case map[string]any:
		return " (got a section)"
	case string:
		return fmt.Sprintf(" (got %.80q)", value)
	default:
		return fmt.Sprintf(" (got %v)", value)
	}
}

// suggest names the known key that is nearest to an unknown one.
func suggest(key string, known []string) string {
	nearest, least := "", len(key)/3+2
	for _, k := range known {
		distance := levenshtein.ComputeDistance(key, k)
		if strings.HasSuffix(k, "."+key) { // written outside its section
			distance = 1
		}
		if distance < least {
			nearest, least = k, distance
		}
	}
	if nearest == "" {
		return "; config.example.yaml lists all settings"
	}
	return "; did you mean " + nearest + "?"
}

// sectionText returns the error for a section used as a setting.
func (l *loader) sectionText(key, got string) string {
	i := slices.IndexFunc(l.keys, func(k string) bool { return strings.HasPrefix(k, key+".") })
	return fmt.Sprintf("is a section with settings such as %s, not a setting%s", l.keys[i], got)
}
