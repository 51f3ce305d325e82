package main

import (
	"strings"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// note is a section at the end of every command's help and manual page.
type note struct {
	title string
	terms [][2]string // name and meaning
}

var commandNotes = []note{
	{"Files", [][2]string{
		{config.DefaultFile, "The configuration, if neither --config nor " + config.FileVariable + " names another."},
		{"/usr/share/doc/optimizerd/docs", "The pages that messages name, such as docs/secrets.md, with the package; also at https://github.com/optimizerd/optimizerd."},
	}},
	{"Environment", [][2]string{
		{config.FileVariable, "The configuration file, if there is no --config. Set but empty: no file."},
		{"OPTIMIZERD_SECTION_KEY", "A setting, such as OPTIMIZERD_HTTP_LISTEN for http.listen."},
		{"NO_COLOR", "If set, output has no colors."},
	}},
	{"Exit status", [][2]string{
		{"0", "Success."},
		{"1", "An error, or at least one file or check failed."},
		{"130", "Interrupted by Ctrl-C or SIGTERM. serve shuts down gracefully and exits with 0."},
	}},
}

// notes is the text of commandNotes for --help.
var notes = func() string {
	var b strings.Builder
	for _, n := range commandNotes {
		b.WriteString(n.title + ":\n")
		for _, term := range n.terms {
			b.WriteString("  " + term[0] + "\n      " + term[1] + "\n")
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}()
