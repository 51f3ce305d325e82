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
// line, sorted by id. Close writes it and Open deletes it. After a crash, and if the
// served directory has changed since Close, the manifests are read instead: older
// versions do not know the file. It was closed last if both have the same time.
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

// takeIndex reads and deletes the index. Without one that is certain, it is empty.
func (s *Store) takeIndex() (*index, error) {
	path := filepath.Join(s.config.Dir, indexFile)
	sealed, err := modified(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &index{}, nil
	}
	var lines []byte
	if err == nil {
		lines, err = os.ReadFile(path)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return nil, err
	}
	if s.crashed || !sealed.Equal(s.changed) {
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

// sealIndex gives the index the time of the served directory, which must not be changed
// afterwards.
func (s *Store) sealIndex() error {
	if s.Len() < indexFrom {
		return nil
	}
	at, err := modified(s.config.Dir)
	if err != nil {
		return err
	}
	return os.Chtimes(filepath.Join(s.config.Dir, indexFile), at, at)
}

// modified returns the modification time of a file or directory.
func modified(path string) (time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}
