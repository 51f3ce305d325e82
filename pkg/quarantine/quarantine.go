// Package quarantine remembers sources that failed for good because the codec
// process died, or ran out of time or memory, at each try: the same bytes sent
// again are refused at once instead of killing two more processes.
//
// One small JSON file a source, named by its digest, is all there is. Nothing
// is kept in memory and there is no lock: a file appears by one rename and
// goes by one unlink, and Check reads the one file that it asks for. So other
// processes may list and clear the folder while a daemon works in it, and the
// daemon heeds that at its next upload.
//
// The package does not judge failures: what goes in is package optimize's to
// say.
package quarantine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/atomicfile"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
	"github.com/optimizerd/optimizerd/pkg/timestamp"
)

// Folder is the name of the folder within storage.dir.
const Folder = "quarantine"

// Entry is one source.
type Entry struct {
	SHA256   string         `json:"sha256"` // lower-case hex
	Filename string         `json:"filename,omitempty"`
	Bytes    int64          `json:"bytes"`
	Reason   string         `json:"reason"` // for the operator: how the process ended
	At       timestamp.Time `json:"at"`
	Libvips  string         `json:"libvips"` // the version that failed

	// Unreadable is why the file of this entry cannot be read; nothing else
	// but SHA256 and At, of the file, is known then. It is never in a file.
	Unreadable string `json:"unreadable,omitempty"`
}

// Store is the folder. Its methods may be called from several goroutines, and
// on one folder by several processes.
type Store struct{ dir, libvips string }

const suffix = ".json"

// Open returns the store in dir, for a codec with this version of libvips: an
// entry that was made with another one does not count, since the fault may be
// mended. Nothing is written: Add makes the folder, so that looking at a data
// folder does not change it.
func Open(dir, libvips string) (*Store, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("open quarantine: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("open quarantine: %s is not a directory", dir)
	}
	return &Store{dir, libvips}, nil
}

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (s *Store) path(sha256 string) string { return filepath.Join(s.dir, sha256+suffix) }

// Counts reports whether sources of this entry are refused.
func (s *Store) Counts(e Entry) bool { return e.Unreadable == "" && e.Libvips == s.libvips }

// Check returns nil, or a fault if the source with this digest is not to be
// tried again. An entry that cannot be read counts as absent: trying costs two
// processes and mends the entry, refusing would be a judgement without a
// reason.
func (s *Store) Check(sha256 string) error {
	e, err := s.read(sha256)
	if err != nil || !s.Counts(e) {
		return nil
	}
	return fault.Wrap(fault.ProcessingFailed, fmt.Errorf("in quarantine since %v: %s", e.At, e.Reason),
		"This exact file crashed the codec twice on %s and is not processed again. "+
			"Save the image with another program and send the result, or ask the operator of this server to clear the quarantine.",
		e.At.Format("2 January 2006"))
}

// Add makes the entry durable; it takes the place of an earlier one of the
// same source. Its Libvips is the store's.
func (s *Store) Add(e Entry) error {
	e.Libvips, e.Unreadable = s.libvips, ""
	if err := e.validate(e.SHA256); err != nil {
		return fmt.Errorf("add to quarantine: %w", err)
	}
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("add to quarantine: %w", err)
	}
	if err := s.makeDir(); err != nil {
		return fmt.Errorf("add to quarantine: %w", err)
	}
	if err := atomicfile.Write(s.path(e.SHA256), append(b, '\n')); err != nil {
		return fmt.Errorf("add to quarantine: %w", err)
	}
	return nil
}

func (s *Store) makeDir() error {
	if _, err := os.Stat(s.dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(s.dir))
}

// List returns every entry, newest first, whether it counts or not. One that
// cannot be read is among them, so that it can be seen and cleared. What is
// not named like an entry is passed over.
func (s *Store) List() ([]Entry, error) {
	digests, err := s.digests()
	if err != nil {
		return nil, err
	}
	entries := []Entry{}
	for _, sha256 := range digests {
		e, err := s.read(sha256)
		if errors.Is(err, fs.ErrNotExist) {
			continue // cleared meanwhile
		}
		if err != nil {
			e = Entry{SHA256: sha256, Unreadable: err.Error()}
			if info, err := os.Stat(s.path(sha256)); err == nil {
				e.At = timestamp.At(info.ModTime())
			}
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return b.At.Compare(a.At.Time) })
	return entries, nil
}

// digests are the names of all entries, sorted.
func (s *Store) digests() ([]string, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	var digests []string
	for _, f := range files {
		if sha256, ok := strings.CutSuffix(f.Name(), suffix); ok && hexSHA256.MatchString(sha256) {
			digests = append(digests, sha256)
		}
	}
	return digests, nil
}

// Clear removes the entries of these sources, or every entry if none is named,
// and returns how many there were.
func (s *Store) Clear(sha256s ...string) (n int, err error) {
	if len(sha256s) == 0 {
		if sha256s, err = s.digests(); err != nil {
			return 0, err
		}
	}
	for _, sha256 := range sha256s {
		if !hexSHA256.MatchString(sha256) {
			return 0, fmt.Errorf("clear quarantine: %.80q is not a SHA-256 in lower-case hex", sha256)
		}
	}
	for _, sha256 := range sha256s {
		err := os.Remove(s.path(sha256))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return n, fmt.Errorf("clear quarantine: %w", err)
		}
		n++
	}
	if n > 0 {
		return n, atomicfile.SyncDir(s.dir)
	}
	return n, nil
}

// read returns the entry of a source; the error is fs.ErrNotExist if there is
// none.
func (s *Store) read(sha256 string) (Entry, error) {
	if !hexSHA256.MatchString(sha256) {
		return Entry{}, fs.ErrNotExist
	}
	b, err := os.ReadFile(s.path(sha256))
	if err != nil {
		return Entry{}, err
	}
	return decode(b, sha256)
}

// decode refuses unknown fields, anything after the entry, and an entry that
// is not whole or is another source's.
func decode(b []byte, sha256 string) (Entry, error) {
	var e Entry
	if err := strictjson.Unmarshal(b, &e); err != nil {
		return Entry{}, fmt.Errorf("decode entry: %w", err)
	}
	if err := e.validate(sha256); err != nil {
		return Entry{}, fmt.Errorf("decode entry: %w", err)
	}
	return e, nil
}

func (e Entry) validate(sha256 string) error {
	switch {
	case !hexSHA256.MatchString(e.SHA256):
		return fmt.Errorf("sha256: %.80q is not a SHA-256 in lower-case hex", e.SHA256)
	case e.SHA256 != sha256:
		return fmt.Errorf("sha256: entry belongs to %s", e.SHA256)
	case e.Bytes < 0:
		return fmt.Errorf("bytes: must not be negative (got %d)", e.Bytes)
	case e.Reason == "":
		return fmt.Errorf("reason: required")
	case e.At.IsZero():
		return fmt.Errorf("at: required")
	case e.Libvips == "":
		return fmt.Errorf("libvips: required")
	case e.Unreadable != "":
		return fmt.Errorf("unreadable: must not be set in a file")
	}
	return nil
}
