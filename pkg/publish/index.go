package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/durable"
)

// indexFile has the id and the time of each set, one "ID UNIXNANOSECONDS" per
// line, sorted by id. Close writes it and Open deletes it, so that it is never
// stale: after a crash, the manifests are read instead.
const indexFile = ".index"

// indexFrom is the number of sets from which on an index pays off.
const indexFrom = 1000

// index is the index that the previous process left. Ids must be looked up in
// order.
type index struct {
	rest []byte // the lines that were not read yet
	id   string // of the line at hand; "" at the start
	at   time.Time
}

// takeIndex reads and deletes the index. Without one, and after a crash, it is
// empty.
func (s *Store) takeIndex() (*index, error) {
	path := filepath.Join(s.config.Dir, indexFile)
	lines, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &index{}, nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return nil, err
	}
	if s.crashed {
		return &index{}, nil
	}
	return &index{rest: lines}, nil
}

// time returns the time of a set, if the index has it.
func (x *index) time(id string) (at time.Time, ok bool) {
	for x.id < id && len(x.rest) > 0 {
		x.next()
	}
	return x.at, x.id == id
}

// next reads a line. A malformed one ends the index.
func (x *index) next() {
	line, rest, _ := bytes.Cut(x.rest, []byte("\n"))
	id, digits, _ := strings.Cut(string(line), " ")
	nanos, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		*x = index{}
		return
	}
	*x = index{rest, id, time.Unix(0, nanos)}
}

func (s *Store) writeIndex() error {
	if s.Len() < indexFrom {
		return nil
	}
	var lines []string
	for id, at := range s.Times() {
		lines = append(lines, fmt.Sprintf("%s %d\n", id, at.UnixNano()))
	}
	slices.Sort(lines)
	return durable.Write(filepath.Join(s.config.Dir, indexFile), []byte(strings.Join(lines, "")))
}
