package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/google/renameio/v2"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

const (
	blobsDir     = "blobs"     // <first two digits>/<digest>
	snapshotsDir = "snapshots" // <name>.jsonl.gz
	damagedDir   = "damaged"   // <digest>: blobs that were set aside
	snapshotExt  = ".jsonl.gz"
)

// folder is a Store in a directory.
type folder struct {
	dir  string
	lock *durable.Lock // nil for reading
}

// OpenFolder returns the store in a directory. It is created if create is set.
func OpenFolder(dir string, create bool) (Store, error) {
	if create {
		if err := durable.MkdirAll(filepath.Join(dir, snapshotsDir), 0o700); err != nil {
			return nil, err
		}
	}
	f, err := findFolder(dir)
	if err != nil {
		return nil, err
	}
	if f.lock, err = durable.LockDir(dir); err != nil {
		return nil, err
	}
	return f, nil
}

// ReadFolder returns the store in a directory for reading, while a backup may run: the
// directory is not locked, and nothing is written to it.
func ReadFolder(dir string) (Store, error) {
	f, err := findFolder(dir)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func findFolder(dir string) (*folder, error) {
	if _, err := os.Stat(filepath.Join(dir, snapshotsDir)); err != nil {
		return nil, fmt.Errorf("%s is not a backup: %w", dir, err)
	}
	return &folder{dir: dir}, nil
}

func (f *folder) Close() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}

// unfinished matches the names that renameio gives to files that are being written.
var unfinished = regexp.MustCompile(`^\..+[0-9]{6}$`)

// sweep deletes the unfinished files in a directory. Nothing else may be writing there.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && unfinished.MatchString(e.Name()) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *folder) path(digest string) string {
	return filepath.Join(f.dir, blobsDir, digest[:2], digest)
}

// Blobs also deletes what a process that was killed was writing, unless the store was
// opened for reading.
func (f *folder) Blobs(ctx context.Context, found func(digest string, bytes int64)) error {
	if f.lock != nil {
		if err := sweep(filepath.Join(f.dir, snapshotsDir)); err != nil {
			return err
		}
	}
	return filepath.WalkDir(filepath.Join(f.dir, blobsDir), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // there is no blob yet, or no longer
		}
		if err == nil && d.IsDir() && f.lock != nil {
			err = sweep(path)
		}
		if err != nil || d.IsDir() || !manifest.ValidSHA256(d.Name()) {
			return errors.Join(err, ctx.Err())
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err == nil {
			found(d.Name(), info.Size())
		}
		return err
	})
}

func (f *folder) Put(_ context.Context, digest string, bytes int64, from *os.File) error {
	to := f.path(digest)
	if err := durable.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	pending, err := renameio.NewPendingFile(to, renameio.WithTempDir(filepath.Dir(to)), renameio.WithPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = pending.Cleanup() }() // does nothing once it was renamed
	if _, err := io.Copy(pending, io.NewSectionReader(from, 0, bytes)); err != nil {
		return err
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(to))
}

func (f *folder) Get(_ context.Context, digest string) (io.ReadCloser, error) {
	if !manifest.ValidSHA256(digest) {
		return nil, fmt.Errorf("%.70q is not a digest", digest)
	}
	return os.Open(f.path(digest))
}

func (f *folder) Delete(_ context.Context, digest string) error { return os.Remove(f.path(digest)) }

func (f *folder) SetAside(_ context.Context, digest string) error {
	aside := filepath.Join(f.dir, damagedDir)
	if err := durable.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	return durable.Rename(f.path(digest), filepath.Join(aside, digest))
}

func (f *folder) snapshot(name string) string {
	return filepath.Join(f.dir, snapshotsDir, name+snapshotExt)
}

func (f *folder) Snapshots(context.Context) (names []string, err error) {
	files, err := os.ReadDir(filepath.Join(f.dir, snapshotsDir))
	for _, file := range files {
		if name, ok := snapshotName(file.Name()); ok {
			names = append(names, name)
		}
	}
	return names, err
}

// PutSnapshot makes the names of all blobs durable first: some may be there since a
// process that ended before it had.
func (f *folder) PutSnapshot(_ context.Context, name string, data []byte) error {
	blobs := filepath.Join(f.dir, blobsDir)
	parts, err := os.ReadDir(blobs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dirs := []string{f.dir}
	if err == nil {
		dirs = append(dirs, blobs)
	}
	for _, part := range parts {
		if part.IsDir() {
			dirs = append(dirs, filepath.Join(blobs, part.Name()))
		}
	}
	for _, dir := range dirs {
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	return durable.WritePrivate(f.snapshot(name), data)
}

func (f *folder) GetSnapshot(_ context.Context, name string) ([]byte, error) {
	return os.ReadFile(f.snapshot(name))
}

func (f *folder) DeleteSnapshot(_ context.Context, name string) error {
	if err := os.Remove(f.snapshot(name)); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Join(f.dir, snapshotsDir)) // its blobs are deleted next
}
