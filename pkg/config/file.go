package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parse returns the valid settings of a YAML document as a tree. It notes the
// line of each, and reports keys that are unknown, repeated, or of the wrong
// kind. It returns syntax errors only.
func (l *loader) parse(b []byte) (map[string]any, error) {
	tree := make(map[string]any)
	var document yaml.Node
	if err := yaml.Unmarshal(b, &document); err != nil {
		return nil, l.syntaxError(err)
	}
	if len(document.Content) == 0 {
		return tree, nil // empty
	}
	if n := selfReference(&document, nil); n != nil {
		return nil, mistake{source: l.file, line: n.Line, text: fmt.Sprintf("not valid YAML: anchor %s contains itself", n.Value)}
	}
	top := resolve(document.Content[0])
	switch {
	case top.Tag == "!!null":
	case top.Kind != yaml.MappingNode:
		return nil, mistake{source: l.file, line: top.Line, text: "must have sections such as http: and storage:, not a single value or a list"}
	default:
		l.walk(top, "", tree)
	}
	return tree, nil
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// syntaxError moves the line number into its usual place.
func (l *loader) syntaxError(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	m := mistake{source: l.file, text: "not valid YAML: " + text}
	if found := yamlLine.FindStringSubmatch(text); found != nil {
		m.line, _ = strconv.Atoi(found[1]) // digits only
		m.text = "not valid YAML: " + found[2]
	}
	return m
}

// selfReference returns an alias in n to one of the nodes that it is in, or nil.
func selfReference(n *yaml.Node, in []*yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && slices.Contains(in, n.Alias) {
		return n
	}
	for _, each := range n.Content {
		if found := selfReference(each, append(in, n)); found != nil {
			return found
		}
	}
	return nil
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// walk adds the settings of one mapping to tree. Viper's keys have no case.
func (l *loader) walk(n *yaml.Node, section string, tree map[string]any) {
	for pair := range slices.Chunk(n.Content, 2) {
		if pair[0].Tag == "!!merge" {
			l.merge(resolve(pair[1]), section, tree)
		}
	}
	seen := make(map[string]int)
	for pair := range slices.Chunk(n.Content, 2) {
		name, value := pair[0], resolve(pair[1])
		if name.Tag == "!!merge" {
			continue
		}
		key := section + strings.ToLower(name.Value)
		m := mistake{source: l.file, line: name.Line, key: key}
		if first := seen[key]; first > 0 {
			m.text = fmt.Sprintf("is set twice; also on line %d", first)
			l.add(m)
			continue
		}
		seen[key] = name.Line
		switch {
		case slices.Contains(l.keys, key):
			l.leaf(value, m, tree)
		case !l.isSection(key):
			m.text = "unknown setting" + got(key, plain(value)) + suggest(key, l.names)
			l.add(m)
		case value.Kind == yaml.MappingNode:
			l.walk(value, key+".", tree)
		case value.Tag != "!!null":
			m.text = l.sectionText(key, got(key, plain(value)))
			l.add(m)
		}
	}
}

// merge adds the settings of a YAML merge key.
func (l *loader) merge(value *yaml.Node, section string, tree map[string]any) {
	switch value.Kind {
	case yaml.MappingNode:
		l.walk(value, section, tree)
	case yaml.SequenceNode:
		for _, each := range value.Content {
			if each = resolve(each); each.Kind == yaml.MappingNode {
				l.walk(each, section, tree)
			}
		}
	}
}

// leaf adds one setting. A setting without a value keeps its default.
func (l *loader) leaf(n *yaml.Node, m mistake, tree map[string]any) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind == yaml.MappingNode {
		m.text = "must be " + kind(reflect.TypeOf(l.defaults[m.key])) + " (got a section)"
		l.add(m)
		return
	}
	value, err := decodeNode(n, reflect.TypeOf(l.defaults[m.key]))
	if err != nil {
		m.text = strings.TrimPrefix(err.Error(), "yaml: ")
		l.add(m)
		return
	}
	l.lines[m.key] = n.Line
	if n.Kind == yaml.SequenceNode {
		for i, item := range n.Content {
			l.lines[fmt.Sprintf("%s[%d]", m.key, i)] = item.Line
		}
	}
	put(tree, strings.Split(m.key, "."), value)
}

// decodeNode returns a node's value. Where text is expected, a number is returned
// as written: a token may consist of digits.
func decodeNode(n *yaml.Node, want reflect.Type) (value any, err error) {
	n = resolve(n)
	if n.Kind == yaml.SequenceNode && want.Kind() == reflect.Slice {
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			if list[i], err = decodeNode(item, want.Elem()); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	if want.Kind() == reflect.Slice {
		want = want.Elem()
	}
	if n.Kind == yaml.ScalarNode && want.Kind() == reflect.String && n.Tag != "!!bool" && n.Tag != "!!null" {
		return n.Value, nil
	}
	err = n.Decode(&value)
	return value, err
}

func put(tree map[string]any, path []string, value any) {
	for ; len(path) > 1; path = path[1:] {
		below, ok := tree[path[0]].(map[string]any)
		if !ok {
			below = make(map[string]any)
			tree[path[0]] = below
		}
		tree = below
	}
	tree[path[0]] = value
}

// plain returns a node's value for an error message.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.SequenceNode:
		return []any{}
	case yaml.MappingNode:
		return map[string]any{}
	}
	var value any
	if err := n.Decode(&value); err != nil {
		return n.Value
	}
	return value
}
