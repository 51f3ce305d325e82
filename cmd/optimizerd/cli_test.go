package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/optimizerd/optimizerd/pkg/config"
)

const cliPage = "../../docs/cli.md"

// With UPDATE=1 it writes the page.
func TestDocsCLIIsWhatTheCommandsSay(t *testing.T) {
	page := string(read(t, cliPage))
	intro, _, found := strings.Cut(page, "## ")
	if !found {
		t.Fatalf("%s has no command", cliPage)
	}
	var b strings.Builder
	b.WriteString(intro)
	c := root(&options{defaultFile: config.DefaultFile})
	c.InitDefaultCompletionCmd()
	describeCommand(&b, c)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(cliPage, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if page != b.String() {
		t.Errorf("%s differs from the commands; write it with: UPDATE=1 go test ./cmd/optimizerd -run DocsCLI", cliPage)
	}
}

// describeCommand writes the section of a command and of those below it.
func describeCommand(b *strings.Builder, c *cobra.Command) {
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(b, "## %s\n\n", c.CommandPath())
	fmt.Fprintf(b, "```text\n%s\n\n%s\n", strings.TrimSpace(text), c.UseLine())
	c.InitDefaultHelpFlag()
	if flags := c.LocalFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(b, "\n%s", flags.FlagUsages())
	}
	if c.HasExample() {
		fmt.Fprintf(b, "\n%s\n", strings.TrimRight(c.Example, "\n"))
	}
	b.WriteString("```\n\n")
	if !c.HasParent() {
		for _, n := range commandNotes {
			fmt.Fprintf(b, "### %s\n\n", n.title)
			for _, term := range n.terms {
				fmt.Fprintf(b, "- `%s`: %s\n", term[0], term[1])
			}
			b.WriteString("\n")
		}
	}
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() && below.Name() != "help" && c.Name() != "completion" {
			describeCommand(b, below)
		}
	}
}
