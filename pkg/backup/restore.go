package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/publish"
)

// marker is the file that marks a data folder whose restore is not complete.
const marker = "restore-in-progress"

// Restore makes the data folder dir from a snapshot, the newest if name is "". dir
// must be missing or empty, or hold a restore of the same snapshot that was
// interrupted. Every file is compared with its digest; one that is damaged or
// missing in the backup is passed to damaged, and the rest is restored.
func Restore(ctx context.Context, dir string, store Store, name string, damaged func(file string, err error)) (t Totals, err error) {
	if name, err = find(ctx, store, name); err != nil {
		return t, err
	}
	entries, err := readSnapshot(ctx, store, name)
	if err != nil {
		return t, err
	}
	lock, err := begin(dir, name)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	t.Snapshot = name
	r := &restore{dir: dir, store: store, totals: &t}
	// Jobs are last: a daemon that is started too early must find their sources.
	order := func(e entry) int {
		return slices.IndexFunc([]string{"files/", "spool/", "retry/", "outbox/", "queue/", ""}, func(prefix string) bool { return strings.HasPrefix(e.Path, prefix) })
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return order(a) - order(b) })
	for _, e := range entries {
		err := r.entry(ctx, e)
		switch {
		case ctx.Err() != nil: // whatever became of this entry
			return t, ctx.Err()
		case isLocal(err):
			return t, err
		case err != nil:
			t.Damaged++
			damaged(e.Path, err)
		}
	}
	for d := range r.dirs {
		if err := durable.SyncDir(d); err != nil {
			return t, err
		}
	}
	return t, os.Remove(filepath.Join(dir, marker))
}

// Complete returns an error if the data folder dir holds a restore that was interrupted.
func Complete(dir string) error {
	name, err := os.ReadFile(filepath.Join(dir, marker))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s holds an incomplete restore of %.60q: run 'optimizerd restore' again, or delete %s there to go on with what there is", dir, name, marker)
}

// find returns the name of a snapshot.
func find(ctx context.Context, store Store, name string) (string, error) {
	names, err := store.Snapshots(ctx)
	switch {
	case err != nil:
		return "", err
	case len(names) == 0:
		return "", errors.New("there is no snapshot; is it the right place, and was the backup complete?")
	case name == "":
		return names[len(names)-1], nil
	case !slices.Contains(names, name):
		return "", fmt.Errorf("there is no snapshot %.60q; 'optimizerd restore --list' lists them", name)
	}
	return name, nil
}

// begin prepares the data folder.
func begin(dir, name string) (*durable.Lock, error) {
	if err := os.MkdirAll(filepath.Join(dir, "queue"), 0o750); err != nil {
		return nil, err
	}
	lock, err := durable.LockDir(filepath.Join(dir, "queue")) // as the daemon does
	if err != nil {
		return nil, err
	}
	mark := filepath.Join(dir, marker)
	if err := durable.Sweep(mark); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	began, err := os.ReadFile(mark)
	switch {
	case err == nil && string(began) != name:
		err = fmt.Errorf("%s holds an incomplete restore of %.60q: go on with that snapshot, or empty the directory", dir, began)
	case errors.Is(err, fs.ErrNotExist):
		if err = empty(dir); err == nil {
			err = durable.Write(mark, []byte(name))
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// empty returns an error if a data folder holds anything but an empty queue.
func empty(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, "queue")} {
		names, err := os.ReadDir(d)
		if err != nil {
			return err
		}
		for _, n := range names {
			if n.Name() != "queue" && n.Name() != "lost+found" {
				return fmt.Errorf("%s is not empty: move what is in it away first; a backup is never restored over existing images", dir)
			}
		}
	}
	return nil
}

type restore struct {
	dir    string
	store  Store
	dirs   map[string]bool // to be synced; true if files are written there
	totals *Totals
}

// localError is an error of the data folder. Going on with a restore is pointless then.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

func (r *restore) entry(ctx context.Context, e entry) error {
	switch {
	case e.Content != nil || e.SHA256 == "":
		r.totals.Records++
		return r.write(e.Path, e.Content, e.Modified)
	case strings.HasPrefix(e.Path, "originals/"): // of a set that was set aside
		return r.original(ctx, e.Path, e.SHA256)
	case !e.isSet():
		r.totals.Sources++
		return r.blob(ctx, e.Path, e.SHA256)
	}
	content, m, err := readManifest(ctx, r.store, e)
	if err != nil {
		return err
	}
	var damage []error
	for _, v := range m.Variants {
		err := r.blob(ctx, path.Join(path.Dir(e.Path), v.Name()), v.SHA256)
		if isLocal(err) || ctx.Err() != nil {
			return err
		}
		damage = append(damage, err)
	}
	if err := r.write(e.Path, content, m.CreatedAt.Time); err != nil {
		return err
	}
	damaged := errors.Join(damage...)
	if damaged == nil {
		r.totals.Sets++
	} else if err := r.setAside(m.ID); err != nil {
		return err
	}
	if e.Original {
		damaged = errors.Join(damaged, r.original(ctx, "originals/"+m.ID, m.Source.SHA256))
	}
	return damaged
}

// original restores an original.
func (r *restore) original(ctx context.Context, name, digest string) error {
	err := r.blob(ctx, name, digest)
	if err == nil {
		r.totals.Originals++
	}
	return err
}

// setAside sets a set aside that lacks a file, as verify --repair does.
func (r *restore) setAside(id string) error {
	served := filepath.Join(r.dir, "files")
	dir := filepath.Join(served, id)
	delete(r.dirs, dir)
	if err := errors.Join(durable.SyncDir(dir), publish.SetAside(served, id)); err != nil {
		return &localError{err}
	}
	return nil
}

// create prepares the directory of a file and returns the file's path. What a restore
// that was killed was writing there is deleted.
func (r *restore) create(name string) (string, error) {
	file := filepath.Join(r.dir, filepath.FromSlash(name))
	perm := os.FileMode(0o750)
	if strings.HasPrefix(name, "files/") {
		perm = 0o755 // a web server may read them
	}
	dir := filepath.Dir(file)
	if r.dirs == nil {
		r.dirs = make(map[string]bool)
	}
	if !r.dirs[dir] {
		if err := os.MkdirAll(dir, perm); err != nil {
			return "", &localError{err}
		}
		if err := sweep(dir); err != nil {
			return "", &localError{err}
		}
		r.dirs[dir] = true
		if parent := filepath.Dir(dir); !r.dirs[parent] {
			r.dirs[parent] = false
		}
	}
	return file, nil
}

// mode returns the permissions of a file, as the daemon gives them.
func mode(name string) os.FileMode {
	switch {
	case strings.HasPrefix(name, "files/"):
		return 0o644
	case name == "url-key":
		return 0o600
	default:
		return 0o640
	}
}

// write restores a small file with its time, which is zero in older snapshots.
func (r *restore) write(name string, content []byte, modified time.Time) error {
	file, err := r.create(name)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(file, content, mode(name), renameio.WithTempDir(filepath.Dir(file))); err != nil {
		return &localError{err}
	}
	if modified.IsZero() {
		return nil
	}
	if err := os.Chtimes(file, modified, modified); err != nil {
		return &localError{err}
	}
	return nil
}

// blob restores a file, unless an interrupted restore has: files appear complete.
func (r *restore) blob(ctx context.Context, name, digest string) error {
	file, err := r.create(name)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(file); err == nil {
		return nil
	}
	from, err := r.store.Get(ctx, digest)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer from.Close()
	pending, err := renameio.NewPendingFile(file, renameio.WithTempDir(filepath.Dir(file)), renameio.WithPermissions(mode(name)))
	if err != nil {
		return &localError{err}
	}
	defer func() { _ = pending.Cleanup() }() // does nothing once it was renamed
	hash := sha256.New()
	w := &localWriter{pending}
	n, err := io.Copy(w, io.TeeReader(from, hash))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != digest {
		return fmt.Errorf("%s: the backup's copy is damaged: its SHA-256 is %s, not %s", name, got, digest)
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return &localError{err}
	}
	r.totals.Copied++
	r.totals.Bytes += n
	return nil
}

// localWriter tells errors of writing from those of reading.
type localWriter struct{ w io.Writer }

func (w *localWriter) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	if err != nil {
		err = &localError{err}
	}
	return n, err
}
