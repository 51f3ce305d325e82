package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Folder is a directory of JSON records, one file each, named after the record's
// id. A record appears by one rename and disappears by one unlink, so several
// processes may read, write and remove at the same time. Errors of its methods
// name neither the directory nor the kind of record; the caller adds that.
type Folder[T any] struct {
	dir    string
	format Format[T]
}

// Format describes the records of a Folder. Files whose names are not a valid id
// and the extension are ignored.
type Format[T any] struct {
	ValidID func(id string) bool
	Encode  func(T) ([]byte, error)
	Decode  func(id string, data []byte) (T, error) // refuses a record of another id
}

const extension = ".json"

// unreadableSuffix is added to the name of a record that Load cannot read.
const unreadableSuffix = ".unreadable"

// AsidePattern matches the names of records that were set aside, for filepath.Match.
const AsidePattern = "*" + extension + unreadableSuffix

// OpenFolder returns the records in dir, which need not exist; Create makes it.
func OpenFolder[T any](dir string, format Format[T]) Folder[T] { return Folder[T]{dir, format} }

// Create makes the directory, and those above it, if they are missing, durably.
func (f Folder[T]) Create() error { return MkdirAll(f.dir, 0o750) }

func (f Folder[T]) path(id string) string { return filepath.Join(f.dir, id+extension) }

// Has reports whether there is a record of this id, readable or not.
func (f Folder[T]) Has(id string) bool {
	_, err := os.Stat(f.path(id))
	return err == nil && f.format.ValidID(id)
}

// Modified returns when a record was last written.
func (f Folder[T]) Modified(id string) (time.Time, error) {
	info, err := os.Stat(f.path(id))
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// SetModified makes Modified return this time until the record is written again. It is
// not durable: after a power cut the time may be the write's.
func (f Folder[T]) SetModified(id string, at time.Time) error {
	return os.Chtimes(f.path(id), at, at)
}

// Read returns a record, or an error that is fs.ErrNotExist if there is none.
func (f Folder[T]) Read(id string) (record T, err error) {
	if !f.format.ValidID(id) {
		return record, fs.ErrNotExist
	}
	b, err := os.ReadFile(f.path(id))
	if err != nil {
		return record, err
	}
	return f.format.Decode(id, b)
}

// Write durably adds a record, or replaces the one of the same id.
func (f Folder[T]) Write(id string, record T) error {
	b, err := f.format.Encode(record)
	if err != nil {
		return err
	}
	return Write(f.path(id), b)
}

// Remove deletes a record and reports whether there was one. The removal is
// durable after the next Sync.
func (f Folder[T]) Remove(id string) (removed bool, err error) {
	err = os.Remove(f.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Sync makes removals and moves durable.
func (f Folder[T]) Sync() error { return SyncDir(f.dir) }

// MoveTo moves a record, if there is one, to another folder of the same file
// system. It works on a full disk. The move is durable once both folders are
// synced.
func (f Folder[T]) MoveTo(to Folder[T], id string) error {
	err := os.Rename(f.path(id), to.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// IDs returns the ids of all records, sorted. A missing directory has none.
func (f Folder[T]) IDs() ([]string, error) { return f.ids(extension) }

func (f Folder[T]) ids(suffix string) ([]string, error) {
	files, err := os.ReadDir(f.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []string
	for _, file := range files {
		if id, ok := strings.CutSuffix(file.Name(), suffix); ok && f.format.ValidID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Load reads all records, sorted by id. It renames those that cannot be read, so
// that they are ignored but kept for inspection, and calls unreadable for each.
func (f Folder[T]) Load(unreadable func(id string, err error)) ([]T, error) {
	ids, err := f.IDs()
	if err != nil {
		return nil, err
	}
	var records []T
	for _, id := range ids {
		record, err := f.Read(id)
		switch {
		case err == nil:
			records = append(records, record)
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		default:
			unreadable(id, err)
			if err := os.Rename(f.path(id), f.asidePath(id)); err != nil {
				return nil, err
			}
		}
	}
	return records, nil
}

func (f Folder[T]) asidePath(id string) string { return f.path(id) + unreadableSuffix }

// SetAside returns the records that Load has set aside, as stored, by id.
func (f Folder[T]) SetAside() (map[string][]byte, error) {
	ids, err := f.ids(extension + unreadableSuffix)
	if err != nil {
		return nil, err
	}
	aside := make(map[string][]byte, len(ids))
	for _, id := range ids {
		if aside[id], err = os.ReadFile(f.asidePath(id)); err != nil {
			return nil, err
		}
	}
	return aside, nil
}

// TakeBack takes back the records that were set aside and can be read now, unless
// there is another one of the same id, and calls back for each: an older version may
// have set them aside.
func (f Folder[T]) TakeBack(back func(id string)) error {
	aside, err := f.SetAside()
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(aside)) {
		if _, err := f.format.Decode(id, aside[id]); err != nil || f.Has(id) {
			continue
		}
		if err := os.Rename(f.asidePath(id), f.path(id)); err != nil {
			return err
		}
		back(id)
	}
	return nil
}

// Sweep removes what an earlier process had started to write: nothing refers to it
// yet.
func (f Folder[T]) Sweep() error {
	return removeIf(f.dir, func(file fs.DirEntry) bool {
		// As renameio names temporary files.
		return strings.HasPrefix(file.Name(), ".") && strings.Contains(file.Name(), extension) && file.Type().IsRegular()
	})
}

// Prune removes files that were last written at then or before.
func (f Folder[T]) Prune(then time.Time) error {
	return removeIf(f.dir, func(file fs.DirEntry) bool {
		info, err := file.Info()
		return err == nil && !info.ModTime().After(then)
	})
}

// removeIf removes the files of a directory that remove chooses.
func removeIf(dir string, remove func(fs.DirEntry) bool) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	for _, file := range files {
		if file.IsDir() || !remove(file) {
			continue
		}
		// Another process may have removed it meanwhile.
		if err := os.Remove(filepath.Join(dir, file.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
