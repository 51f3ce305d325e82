package daemon_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const metricsPage = "../../docs/metrics.md"

// With UPDATE=1 it writes the table.
func TestDocsMetricsHasEveryMetric(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
	before, table, found := strings.Cut(string(page), head)
	_, after, ends := strings.Cut(table, "\n\n")
	if !found || !ends {
		t.Fatalf("%s has no table of metrics", metricsPage)
	}
	rows := metricRows(t)
	if len(rows) < 25 {
		t.Errorf("%d metrics were found", len(rows))
	}
	want := before + head + strings.Join(rows, "\n") + "\n\n" + after
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(metricsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if string(page) != want {
		t.Errorf("%s differs from the source; write it with: UPDATE=1 go test ./pkg/daemon -run DocsMetrics", metricsPage)
	}
}

// metricRows returns a row of the table for each metric that a call in the
// source of this package creates, sorted by name.
func metricRows(t *testing.T) (rows []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(source, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if row := metricRow(call); row != "" {
					rows = append(rows, row)
				}
			}
			return true
		})
	}
	slices.Sort(rows)
	return rows
}

// metricRow returns "" for a call that creates no metric.
func metricRow(call *ast.CallExpr) string {
	var texts, labels []string
	for _, argument := range call.Args {
		switch a := argument.(type) {
		case *ast.BasicLit:
			texts = append(texts, literal(a))
		case *ast.CompositeLit:
			for _, element := range a.Elts {
				switch e := element.(type) {
				case *ast.BasicLit:
					labels = append(labels, "`"+literal(e)+"`")
				case *ast.KeyValueExpr:
					if text := literal(e.Value); text != "" {
						texts = append(texts, text)
					} else if constant, ok := e.Value.(*ast.CompositeLit); ok {
						for _, pair := range constant.Elts {
							labels = append(labels, "`"+literal(pair.(*ast.KeyValueExpr).Key)+"`")
						}
					}
				}
			}
		}
	}
	if len(texts) < 2 || !strings.HasPrefix(texts[0], "optimizerd_") {
		return ""
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |", texts[0], metricType(call), strings.Join(labels, ", "), texts[1])
}

// metricType derives the type from the name of the function that is called.
func metricType(call *ast.CallExpr) string {
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	switch name = strings.ToLower(name); {
	case strings.Contains(name, "histogram"):
		return "histogram"
	case strings.Contains(name, "count"):
		return "counter"
	default:
		return "gauge"
	}
}

// literal returns the text of a string literal, "" for anything else.
func literal(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	text, err := strconv.Unquote(l.Value)
	if err != nil {
		return ""
	}
	return text
}
