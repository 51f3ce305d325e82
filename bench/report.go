package main

import (
	_ "embed"
	"fmt"
	"io"
	"text/template"
)

// performance is the page, but for the figures.
//
//go:embed performance.md.tmpl
var performance string

// notes are the sections that a person writes.
//
//go:embed notes.md
var notes string

var page = template.Must(template.New("performance").Funcs(template.FuncMap{
	"seconds": func(s spread) string { return fmt.Sprintf("%.2f s", s.Median) },
	"ends":    func(s spread) string { return fmt.Sprintf("%.2f–%.2f", s.Min, s.Max) },
	"ratio":   ratioText,
	"percent": func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) },
	"ms":      func(seconds float64) string { return fmt.Sprintf("%.0f ms", 1000*seconds) },
	"whole":   func(x float64) string { return fmt.Sprintf("%.0f", x) },
	"mb":      func(bytes int64) string { return fmt.Sprintf("%.1f MB", megabytes(bytes)) },
	"targets": targets,
	"notes":   func() string { return notes },
}).Parse(performance))

// ratioText writes a ratio; 0 is none.
func ratioText(x float64) string {
	if x == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3f", x)
}

// report writes the page.
func report(w io.Writer, r results) error { return page.Execute(w, r) }
