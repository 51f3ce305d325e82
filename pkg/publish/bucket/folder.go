package bucket

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// folder is an Index of one process: a directory with one file per published set,
// and one in deleting/ per set whose objects are being deleted. An entry appears
// and disappears by one rename. The locks of the store order all changes, so
// revisions are not used.
type folder struct {
	dir  string
	lock *durable.Lock // held while the index is open, against a second process
}

// record is a file of the index.
type record struct {
	Manifest json.RawMessage `json:"manifest"`
	Original int64           `json:"original"` // bytes; 0 if none is kept
}

const (
	deletingDir = "deleting"
	extension   = ".json"
)

// openFolder creates the directories and takes the lock.
func openFolder(dir string) (folder, error) {
	if err := os.MkdirAll(filepath.Join(dir, deletingDir), 0o750); err != nil {
		return folder{}, err
	}
	lock, err := durable.LockDir(dir)
	return folder{dir, lock}, err
}

func (x folder) path(id string) string     { return filepath.Join(x.dir, id+extension) }
func (x folder) deleting(id string) string { return filepath.Join(x.dir, deletingDir, id+extension) }

// Load implements Index.
func (x folder) Load(added func(id string, at time.Time), _ func(id string)) error {
	files, err := os.ReadDir(x.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), extension)
		if !ok || !ladder.ValidID(id) {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return err
		}
		added(id, info.ModTime())
	}
	return nil
}

// Marked implements Index.
func (x folder) Marked() (ids []string, err error) {
	files, err := os.ReadDir(filepath.Join(x.dir, deletingDir))
	for _, f := range files {
		if id, ok := strings.CutSuffix(f.Name(), extension); ok && ladder.ValidID(id) {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// Look implements Index.
func (x folder) Look(id string) (e Entry, _ Revision, err error) {
	b, err := os.ReadFile(x.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		_, err := os.Lstat(x.deleting(id))
		e.Deleting = err == nil
		return e, 0, nil
	}
	if err != nil {
		return e, 0, fmt.Errorf("read index: %w", err)
	}
	var r record
	if err := strictjson.Unmarshal(b, &r); err != nil {
		return e, 0, fmt.Errorf("read index: %w", err)
	}
	return Entry{Published: true, Manifest: r.Manifest, Original: r.Original}, 0, nil
}

// Commit implements Index. The file's time is that of the set: the sort key of
// listings, across restarts.
func (x folder) Commit(m manifest.Manifest, original int64, _ Revision) error {
	encoded, err := m.Encode()
	if err != nil {
		return err
	}
	b, err := json.Marshal(record{Manifest: encoded, Original: original})
	if err != nil {
		return err
	}
	if err := durable.Write(x.path(m.ID), b); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return os.Chtimes(x.path(m.ID), m.CreatedAt.Time, m.CreatedAt.Time)
}

// Mark implements Index.
func (x folder) Mark(id string, _ Revision) error {
	err := durable.Rename(x.path(id), x.deleting(id))
	if errors.Is(err, fs.ErrNotExist) { // removed by hand; its objects must go nevertheless
		return durable.Write(x.deleting(id), nil)
	}
	return err
}

// Unmark implements Index. A mark that survives a power cut does no harm: deleting
// is repeated.
func (x folder) Unmark(id string, _ Revision) error { return removeExisting(x.deleting(id)) }

// Remove implements Index.
func (x folder) Remove(id string, _ Revision) error { return removeExisting(x.path(id)) }

// Close implements Index.
func (x folder) Close() error { return x.lock.Close() }

func removeExisting(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
