// Package quarantine records images that crashed the codec, or exceeded its
// time or memory, in both attempts: the same bytes are refused at once when
// sent again, instead of crashing two more processes.
//
// The state is one small JSON file per image, named by its digest. Nothing is
// cached and there is no lock: a file appears by one rename and disappears by
// one unlink, and Check reads the one file it needs. So other processes may
// list and clear the directory while a daemon is running; it sees the change at
// its next upload.
//
// The package does not judge failures: package jobs decides what is added.
package quarantine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Folder is the name of the directory within storage.dir.
const Folder = "quarantine"

// Entry is one quarantined image.
type Entry struct {
	SHA256   string          `json:"sha256"` // lower-case hex
	Filename string          `json:"filename,omitempty"`
	Bytes    int64           `json:"bytes"`
	Reason   string          `json:"reason"` // for the operator: how the process ended
	At       strictjson.Time `json:"at"`
	Libvips  string          `json:"libvips"` // version that failed

	// Unreadable is why the file of this entry cannot be read. Only SHA256 and At,
	// the time of the file, are known then. It is never in a file.
	Unreadable string `json:"unreadable,omitempty"`
}

// Store is the directory. Its methods may be called from several goroutines, and
// on one directory by several processes.
type Store struct {
	entries durable.Folder[Entry]
	libvips string
}

// Open returns the store in dir, for a codec with this version of libvips.
// Entries made with another version do not count, since that version may have
// fixed the fault. Open writes nothing: Add makes the directory, so that looking
// at a data directory does not change it.
func Open(dir, libvips string) (*Store, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("open quarantine: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("open quarantine: %s is not a directory", dir)
	}
	return &Store{durable.OpenFolder(dir, format), libvips}, nil
}

var format = durable.Format[Entry]{ValidID: manifest.ValidSHA256, Encode: encode, Decode: decode}

// Counts reports whether the image of this entry is refused.
func (s *Store) Counts(e Entry) bool { return e.Unreadable == "" && e.Libvips == s.libvips }

// Check returns a fault if the image with this digest is quarantined. An
// unreadable entry counts as absent: another attempt costs two processes and
// rewrites the entry, refusing would be unjustified.
func (s *Store) Check(sha256 string) error {
	e, err := s.entries.Read(sha256)
	if err != nil || !s.Counts(e) {
		return nil //nolint:nilerr // an unreadable entry is no reason to refuse
	}
	return e.Refusal()
}

// Refusal returns the fault for an image of this entry.
func (e Entry) Refusal() error {
	return fault.Wrap(fault.ProcessingFailed, fmt.Errorf("in quarantine since %v: %s", e.At, e.Reason),
		"This exact file crashed the codec twice on %s and is not processed again. "+
			"Save the image with another program and send the result, or ask the operator of this server to clear the quarantine.",
		e.At.Format("2 January 2006"))
}

// Add durably adds an entry or replaces the one of the same image. Libvips is
// set to the store's version.
func (s *Store) Add(e Entry) error {
	e.Libvips, e.Unreadable = s.libvips, ""
	err := e.validate(e.SHA256)
	if err == nil {
		err = s.entries.Create()
	}
	if err == nil {
		err = s.entries.Write(e.SHA256, e)
	}
	if err != nil {
		return fmt.Errorf("add to quarantine: %w", err)
	}
	return nil
}

// List returns all entries, newest first, whether they count or not. Unreadable
// ones are included, so that they can be seen and cleared.
func (s *Store) List() ([]Entry, error) {
	digests, err := s.entries.IDs()
	if err != nil {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	entries := []Entry{}
	for _, sha256 := range digests {
		e, err := s.entries.Read(sha256)
		if errors.Is(err, fs.ErrNotExist) {
			continue // cleared in the meantime
		}
		if err != nil {
			e = Entry{SHA256: sha256, Unreadable: err.Error()}
			if written, err := s.entries.Modified(sha256); err == nil {
				e.At = strictjson.At(written)
			}
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return b.At.Compare(a.At.Time) })
	return entries, nil
}

// Clear removes the entries of these images, or all entries if it is given none,
// and returns how many there were.
func (s *Store) Clear(sha256s ...string) (n int, err error) {
	if len(sha256s) == 0 {
		if sha256s, err = s.entries.IDs(); err != nil {
			return 0, fmt.Errorf("clear quarantine: %w", err)
		}
	}
	for _, sha256 := range sha256s {
		if !manifest.ValidSHA256(sha256) {
			return 0, fmt.Errorf("clear quarantine: %.80q is not a SHA-256 in lower-case hex", sha256)
		}
	}
	for _, sha256 := range sha256s {
		removed, err := s.entries.Remove(sha256)
		if err != nil {
			return n, fmt.Errorf("clear quarantine: %w", err)
		}
		if removed {
			n++
		}
	}
	if n > 0 {
		return n, s.entries.Sync()
	}
	return n, nil
}

func encode(e Entry) ([]byte, error) {
	b, err := json.MarshalIndent(e, "", "  ")
	return append(b, '\n'), err
}

// decode refuses unknown fields, anything after the entry, an incomplete entry
// and that of another image.
func decode(sha256 string, b []byte) (Entry, error) {
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
	case !manifest.ValidSHA256(e.SHA256):
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
