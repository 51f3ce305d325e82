// Package quarantine records images that crashed the codec, or exceeded its
// time or memory, in both attempts: the same bytes are refused at once when
// sent again, instead of crashing two more processes.
//
// The state is one small JSON file per image, named by its digest. Nothing is
// cached and there is no lock: a file appears by one rename and disappears by
// one unlink, and Check reads the one file it needs. So other processes may
// list and clear the directory while a daemon is running, which sees the change
// at its next upload.
//
// The package does not judge failures: package optimize decides what is added.
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

// Folder is the name of the directory within storage.dir.
const Folder = "quarantine"

// Entry is one quarantined image.
type Entry struct {
	SHA256   string         `json:"sha256"` // lower-case hex
	Filename string         `json:"filename,omitempty"`
	Bytes    int64          `json:"bytes"`
	Reason   string         `json:"reason"` // for the operator: how the process ended
	At       timestamp.Time `json:"at"`
	Libvips  string         `json:"libvips"` // version that failed

	// Unreadable is why the file of this entry cannot be read; only SHA256 and
	// At, from the file's name and time, are set then. It is never stored.
	Unreadable string `json:"unreadable,omitempty"`
}

// Store is the quarantine directory. It is safe for concurrent use, also by
// several processes.
type Store struct{ dir, libvips string }

const suffix = ".json"

// Open returns the store in dir for a codec with this version of libvips:
// entries recorded with another version do not count, since the bug may be
// fixed. Open writes nothing, so that inspecting a data folder does not change
// it; Add creates the directory.
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

// Counts reports whether the image of this entry is refused.
func (s *Store) Counts(e Entry) bool { return e.Unreadable == "" && e.Libvips == s.libvips }

// Check returns a fault if the image with this digest is quarantined. An
// unreadable entry counts as absent: another attempt costs two processes and
// rewrites the entry, refusing would be unjustified.
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

// Add durably adds an entry or replaces the one of the same image. Libvips is
// set to the store's version.
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

// List returns all entries, newest first, whether they count or not. Unreadable
// ones are included, so that they can be seen and cleared. Other files are
// ignored.
func (s *Store) List() ([]Entry, error) {
	digests, err := s.digests()
	if err != nil {
		return nil, err
	}
	entries := []Entry{}
	for _, sha256 := range digests {
		e, err := s.read(sha256)
		if errors.Is(err, fs.ErrNotExist) {
			continue // cleared in the meantime
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

// digests returns the digests of all entries, sorted.
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

// Clear deletes the entries of these images, or all entries if none is given,
// and returns the number of deleted ones.
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

// read returns the entry of an image; the error is fs.ErrNotExist if there is
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

// decode refuses unknown fields, trailing data, incomplete entries and those of
// another image.
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
