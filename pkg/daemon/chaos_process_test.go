package daemon_test

import (
	"flag"
	"fmt"
	"testing"
)

// The chaos tests run the daemon as a process of its own, so that its end and
// its memory are seen. `go test` runs a short form; scripts/chaos sets these for
// the long one.
var chaos = struct {
	images, first, kills, fills *int
	keep, folder                *string
	all                         *bool
}{
	images: flag.Int("chaos.images", 100, "mutated images that are uploaded"),
	first:  flag.Int("chaos.first", 0, "number of the first mutated image, to see one again"),
	kills:  flag.Int("chaos.kills", shortKills, "uploads during which a codec process is killed"),
	fills:  flag.Int("chaos.fills", 2, "times that the disk is filled under load"),
	keep:   flag.String("chaos.keep", "", "directory for the images that a codec process died of"),
	all:    flag.Bool("chaos.all", false, "the bombs, too, that take long to make"),
	folder: flag.String("chaos.folder", "", "directory whose files are uploaded as bombs, too"),
}

// shortKills is few enough for every `go test`.
const shortKills = 15

// figure reports a number that scripts/chaos puts into its table.
func figure(t *testing.T, what, format string, args ...any) {
	t.Helper()
	t.Logf("figure: %s | %s", what, fmt.Sprintf(format, args...))
}
