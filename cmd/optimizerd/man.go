//go:build man

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// With the build tag "man" this program writes its manual pages into the
// directory that is its argument, and exits. Their generator is therefore not
// part of the program that is installed. Their date is SOURCE_DATE_EPOCH's.
func init() {
	if err := writePages(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manual pages:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func writePages(dir string) error {
	date := time.Now()
	if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(seconds, 0).UTC()
	}
	c := root(&options{defaultFile: config.DefaultFile})
	c.InitDefaultCompletionCmd()
	if err := writeCommands(dir, c, date); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "optimizerd.yaml.5"), configurationPage(date), 0o644)
}

// writeCommands writes the page of a command and of those below it.
func writeCommands(dir string, c *cobra.Command, date time.Time) error {
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() && !below.IsAdditionalHelpTopicCommand() {
			if err := writeCommands(dir, below, date); err != nil {
				return err
			}
		}
	}
	c.DisableAutoGenTag = true // no line about the generator
	var b bytes.Buffer
	if err := doc.GenMan(c, &doc.GenManHeader{Section: "1", Source: "optimizerd", Manual: "optimizerd", Date: &date}, &b); err != nil {
		return err
	}
	page, seeAlso, _ := strings.Cut(b.String(), ".SH SEE ALSO\n")
	var notes strings.Builder
	for _, n := range commandNotes {
		notes.WriteString(noteMarkdown(n))
	}
	page += body(notes.String())
	page += ".SH SEE ALSO\n" + strings.TrimRight(seeAlso, "\n") + ", \n\\fBoptimizerd.yaml(5)\\fP\n"
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
	return os.WriteFile(filepath.Join(dir, name), []byte(page), 0o644)
}

func noteMarkdown(n note) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", strings.ToUpper(n.title))
	for _, term := range n.terms {
		fmt.Fprintf(&b, "**%s**\n: %s\n\n", term[0], term[1])
	}
	return b.String()
}

// body renders Markdown without the header of a page.
func body(markdown string) string {
	_, rest, _ := strings.Cut(string(md2man.Render([]byte("% x 1\n\n"+markdown))), ".SH")
	return ".SH" + rest
}

func configurationPage(date time.Time) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%% \"optimizerd.yaml\" \"5\" \"%s\" \"optimizerd\" \"optimizerd\"\n", date.Format("Jan 2006"))
	b.WriteString(`# NAME

optimizerd.yaml - configuration of optimizerd

# SYNOPSIS

` + config.DefaultFile + `

# DESCRIPTION

A setting is read from the configuration file, then from its environment
variable, then from **\-\-set KEY=VALUE**; the last one wins. A variable that is
set but empty sets an empty value. Lists in variables and in \-\-set are separated
by commas. Times take the units s, m, h and d, and sizes take units such as MiB and
GB.

An unknown key is an error, and so is an unknown variable that begins with
OPTIMIZERD\_. **optimizerd check** reports every mistake with its line. Secrets
(auth.tokens, webhook.secrets) cannot be given with \-\-set, because other users
of the machine can read command lines.

`)
	b.WriteString(config.Reference() + "\n")
	for _, n := range commandNotes[:2] { // files and environment
		b.WriteString(noteMarkdown(n))
	}
	b.WriteString("# SEE ALSO\n\n**optimizerd(1)**, **optimizerd-check(1)**, **optimizerd-serve(1)**\n")
	return md2man.Render([]byte(b.String()))
}
