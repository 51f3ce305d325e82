package sandbox

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFreeTasksAreThoseOfEveryGroupAbove(t *testing.T) {
	for name, test := range map[string]struct {
		groups string
		files  map[string]string // pids.max and pids.current in one
		want   int64
	}{
		"no limit":                         {"0::/a/b\n", map[string]string{"a/b": "max 5"}, math.MaxInt64},
		"its own":                          {"0::/a/b\n", map[string]string{"a/b": "256 5"}, 251},
		"of the one above":                 {"0::/a/b\n", map[string]string{"a/b": "256 5", "a": "200 50"}, 150},
		"others in it":                     {"0::/a/b\n", map[string]string{"a/b": "256 250"}, 6},
		"of the container":                 {"0::/\n", map[string]string{"": "100 20"}, 80},
		"version 1":                        {"3:cpu:/x\n7:pids:/a/b\n", map[string]string{"pids/a/b": "256 6"}, 250},
		"version 1, the path as outside":   {"7:pids:/docker/0123\n", map[string]string{"pids": "256 6"}, 250},
		"no groups":                        {"", nil, math.MaxInt64},
		"a line that makes no sense":       {"x\n0::/a\n", map[string]string{"a": "9 1"}, 8},
		"a path that climbs out of groups": {"0::/../..\n", map[string]string{"": "9 1"}, 8},
	} {
		root := t.TempDir()
		for _, dir := range slices.Sorted(maps.Keys(test.files)) {
			dir, content := filepath.Join(root, dir), test.files[dir]
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			most, now, _ := strings.Cut(content, " ")
			for file, text := range map[string]string{"pids.max": most, "pids.current": now} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := freeTasks(root, test.groups); got != test.want {
			t.Errorf("%s: %d tasks are free, want %d", name, got, test.want)
		}
	}
}
