package config

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/optimizerd/optimizerd"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

// Setting describes one setting, as config.example.yaml does.
type Setting struct {
	Key         string
	Description string   // its comment, or its section's; one line
	Kind        string   // what a value must be: "a whole number"
	Default     string   // as YAML
	Values      []string // all that are allowed, if they can be listed
}

// Secret reports whether --set refuses the setting.
func (s Setting) Secret() bool { return secretLists[s.Key] != "" }

// choices are the allowed values of settings that have few.
var choices = map[string][]string{
	"log.level":                 {"debug", "info", "warn", "error"},
	"log.format":                {"auto", "json", "console"},
	"tunnel.mode":               {string(tunnel.Off), string(tunnel.Embedded), string(tunnel.External)},
	"ladder.formats":            {string(ladder.WebP), string(ladder.JPEG), string(ladder.AVIF)},
	"ladder.profile":            ladder.Profiles(),
	"ladder.chroma_subsampling": {ladder.Chroma420, ladder.Chroma444},
}

// Section is a top-level section of the configuration.
type Section struct {
	Name        string
	Description string
	Settings    []Setting
}

// Sections returns every section in the order of config.example.yaml.
func Sections() []Section {
	var document yaml.Node
	if err := yaml.Unmarshal(optimizerd.Example, &document); err != nil {
		panic(err) // it is part of the program
	}
	types := defaults()
	var sections []Section
	top := document.Content[0].Content
	for i := 0; i < len(top); i += 2 {
		s := Section{Name: top[i].Value, Description: comment(top[i])}
		describe(&s, top[i+1], s.Name, "", types)
		sections = append(sections, s)
	}
	return sections
}

// Settings returns every setting in the order of config.example.yaml.
func Settings() []Setting {
	var settings []Setting
	for _, s := range Sections() {
		settings = append(settings, s.Settings...)
	}
	return settings
}

// describe adds the settings below a key. inherited is the description of those
// without their own.
func describe(s *Section, n *yaml.Node, key, inherited string, types map[string]any) {
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		below, description := key+"."+name.Value, comment(name)
		if description == "" {
			description = inherited
		}
		if value.Kind == yaml.MappingNode {
			describe(s, value, below, description, types)
			continue
		}
		setting := Setting{Key: below, Description: description, Default: written(value), Values: choices[below]}
		if t := reflect.TypeOf(types[below]); t != nil {
			setting.Kind = kind(t)
			if t.Kind() == reflect.Bool {
				setting.Values = []string{"true", "false"}
			}
		}
		s.Settings = append(s.Settings, setting)
	}
}

// comment returns the comment above a key, as one line.
func comment(n *yaml.Node) string {
	var words []string
	for line := range strings.Lines(n.HeadComment) {
		words = append(words, strings.Fields(strings.TrimPrefix(line, "#"))...)
	}
	return strings.Join(words, " ")
}

// written returns a value of the example as YAML.
func written(n *yaml.Node) string {
	if n.Kind == yaml.SequenceNode {
		items := make([]string, len(n.Content))
		for i, item := range n.Content {
			items[i] = written(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if n.Style == yaml.DoubleQuotedStyle {
		return fmt.Sprintf("%q", n.Value)
	}
	return n.Value
}

// Reference describes every setting in Markdown, for docs/configuration.md and
// the manual page.
func Reference() string {
	var b strings.Builder
	for _, section := range Sections() {
		fmt.Fprintf(&b, "## %s\n\n%s\n", section.Name, escape(section.Description))
		for _, s := range section.Settings {
			allowed := "Value: " + s.Kind
			switch {
			case s.Kind == "a list" && s.Values != nil:
				allowed = "Value: a list of " + strings.Join(s.Values, ", ")
			case s.Values != nil:
				allowed = "Value: " + strings.Join(s.Values, ", ")
			}
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\n%s. Default: `%s`. Environment: `%s`.\n",
				s.Key, escape(s.Description), allowed, s.Default, Variable(s.Key))
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// escape escapes characters that have a meaning in Markdown.
func escape(s string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "#", `\#`, "<", `\<`, "$", `\$`, "~", `\~`).Replace(s)
}
