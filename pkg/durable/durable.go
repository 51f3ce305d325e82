// Package durable writes files, and directories of JSON records, atomically and
// durably: a power cut leaves the old state or the new one, never half of
// either.
//
// The steps are the classic ones: write beside the target, fsync the file,
// rename it over the target, fsync the directory, since a rename changes only
// the directory's data. google/renameio does the first three; the last is ours.
package durable

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Write durably replaces the content of the file at path. Readers see the old
// content or all of the new.
func Write(path string, data []byte) error { return write(path, data, 0o640) }

// WritePrivate is Write for a secret: only the owner can read the file.
func WritePrivate(path string, data []byte) error { return write(path, data, 0o600) }

func write(path string, data []byte, perm os.FileMode) error {
	if err := renameio.WriteFile(path, data, perm, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return SyncDir(filepath.Dir(path))
}

// Sweep removes what interrupted calls of Write for the file at path have left.
// Nothing else may be writing the file.
func Sweep(path string) error {
	prefix := "." + filepath.Base(path) // as renameio names temporary files
	return removeIf(filepath.Dir(path), func(file fs.DirEntry) bool {
		return file.Type().IsRegular() && strings.HasPrefix(file.Name(), prefix)
	})
}

// Rename durably moves a file or directory within one file system: it syncs the
// directories on both sides.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if filepath.Dir(from) == filepath.Dir(to) {
		return nil
	}
	return SyncDir(filepath.Dir(from))
}

// MkdirAll durably makes a directory, and those above it, if they are missing.
func MkdirAll(dir string, perm os.FileMode) error {
	var parents []string // that get a new name
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		parents = append(parents, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return err
	}
	for _, d := range parents {
		if err := SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", filepath.Base(dir), err)
	}
	return nil
}
