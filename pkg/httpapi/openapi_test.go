package httpapi

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// document is the part of openapi.yaml that the tests read.
type document struct {
	Components struct {
		Schemas map[string]struct {
			Properties struct {
				Code struct{ Enum []fault.Code }
			}
		}
	}
}

func readDocument(t *testing.T, into any) {
	t.Helper()
	b, err := openAPI()
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Without additionalProperties an object may have any field, and no test would
// find a field that the document lacks.
func TestDocumentObjectsSayWhatElseTheyMayHold(t *testing.T) {
	var root any
	readDocument(t, &root)
	objects := 0
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch node := node.(type) {
		case []any:
			for i, child := range node {
				walk(path+"/"+strconv.Itoa(i), child)
			}
		case map[string]any:
			if node["type"] == "object" {
				objects++
				if _, said := node["additionalProperties"]; !said {
					t.Errorf("%s has no additionalProperties", path)
				}
			}
			for key, child := range node {
				walk(path+"/"+key, child)
			}
		}
	}
	walk("", root)
	if objects < 15 {
		t.Errorf("only %d objects were found", objects)
	}
}

// faultCodes are the constants of package fault.
func faultCodes(t *testing.T) (codes []fault.Code) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../fault/fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if named, ok := spec.Type.(*ast.Ident); ok && named.Name == "Code" {
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, fault.Code(code))
		}
		return false
	})
	return codes
}

func TestDocumentHasTheCodesThatThereAre(t *testing.T) {
	var d document
	readDocument(t, &d)
	problems, jobs := d.Components.Schemas["Problem"].Properties.Code.Enum, d.Components.Schemas["JobError"].Properties.Code.Enum
	if got, want := slices.Sorted(slices.Values(problems)), slices.Sorted(maps.Keys(statusByCode)); !slices.Equal(got, want) {
		t.Errorf("problems have the codes\n%q, the map to HTTP has\n%q", got, want)
	}
	all := slices.Sorted(slices.Values(faultCodes(t)))
	if got := slices.Compact(slices.Sorted(slices.Values(slices.Concat(problems, jobs)))); !slices.Equal(got, all) {
		t.Errorf("problems and jobs have the codes\n%q, package fault has\n%q", got, all)
	}
	for _, code := range all {
		if ofInput := strings.HasPrefix(string(code), "input_"); ofInput == slices.Contains(problems, code) {
			t.Errorf("%s: of problems %v; those of the origin are of jobs alone", code, !ofInput)
		}
	}
}

// The guide for clients has a row for each code, which says what to do.
func TestGuideHasEveryCodeOnce(t *testing.T) {
	guide, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var d document
	readDocument(t, &d)
	statuses := make(map[fault.Code]string)
	for code, kind := range statusByCode {
		statuses[code] = strconv.Itoa(kind.status)
	}
	for _, tc := range []struct {
		heading, row string
		codes        []fault.Code
		status       map[fault.Code]string
	}{
		{"### Error codes", "(?m)^\\| (\\d+) \\| `(\\w+)` \\| .*\\w.* \\| .*\\w.* \\|$", slices.Collect(maps.Keys(statusByCode)), statuses},
		{"### Error codes of failed jobs", "(?m)^\\|( )`(\\w+)` \\| .*\\w.* \\| .*\\w.* \\|$", d.Components.Schemas["JobError"].Properties.Code.Enum, nil},
	} {
		_, section, ok := strings.Cut(string(guide), "\n"+tc.heading+"\n")
		if !ok {
			t.Fatalf("the guide has no %q", tc.heading)
		}
		section, _, _ = strings.Cut(section, "\n#")
		var listed []fault.Code
		for _, row := range regexp.MustCompile(tc.row).FindAllStringSubmatch(section, -1) {
			code := fault.Code(row[2])
			listed = append(listed, code)
			if want := tc.status[code]; strings.TrimSpace(row[1]) != want {
				t.Errorf("%s: %s has the status %s, want %s", tc.heading, code, row[1], want)
			}
		}
		slices.Sort(listed)
		if want := slices.Sorted(slices.Values(tc.codes)); !slices.Equal(listed, want) {
			t.Errorf("%s: the table has\n%q, want\n%q", tc.heading, listed, want)
		}
	}
}
