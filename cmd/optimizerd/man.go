//go:build man

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra/doc"
)

// With the build tag "man" this program writes its manual pages into the
// folder that is its argument, and ends. So what makes them is no part of the
// program that is installed. Their date is that of SOURCE_DATE_EPOCH.
func init() {
	if err := doc.GenManTree(root(), &doc.GenManHeader{Section: "1", Source: "optimizerd", Manual: "optimizerd"}, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manual pages:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
