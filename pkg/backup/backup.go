// Package backup copies a data folder while its daemon runs, checks the copies, and
// restores it.
//
// A backup is a store of blobs, named by their digest, and of snapshots. A
// snapshot lists the files of the data folder at one time: small records with
// their content, manifests and sources by their digest. The variants and the
// original of a set are those that its manifest names. A file that is in the store
// is not read again, so backups after the first are incremental. The snapshot is
// written last; without it, blobs are only kept for the next attempt.
//
// It is consistent without a lock because it reads in the reverse of the order of
// writes: what a record references is written before it, and read after it.
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
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/job"
)

// Store is where backups are kept.
type Store interface {
	// Blobs calls f for each blob with its digest and size.
	Blobs(ctx context.Context, f func(digest string, bytes int64)) error
	// Put durably stores a blob whose content is the file.
	Put(ctx context.Context, digest string, bytes int64, f *os.File) error
	// Get opens a blob. Its error is fs.ErrNotExist if there is none.
	Get(ctx context.Context, digest string) (io.ReadCloser, error)
	Delete(ctx context.Context, digest string) error
	// SetAside durably moves a blob to where it no longer is one. Nothing is deleted.
	SetAside(ctx context.Context, digest string) error

	// Snapshots returns the names of the snapshots, oldest first.
	Snapshots(ctx context.Context) ([]string, error)
	PutSnapshot(ctx context.Context, name string, data []byte) error
	// GetSnapshot returns a snapshot. Its error is fs.ErrNotExist if there is none.
	GetSnapshot(ctx context.Context, name string) ([]byte, error)
	DeleteSnapshot(ctx context.Context, name string) error
	Close() error
}

// Totals are the result of a backup or a restore.
type Totals struct {
	Snapshot  string `json:"snapshot"`
	Sets      int    `json:"sets"`
	Originals int    `json:"originals"`
	Records   int    `json:"records"` // of the queue, outbox and quarantine, keys
	Sources   int    `json:"sources"` // of jobs that have not ended
	Copied    int    `json:"copied"`  // blobs
	Bytes     int64  `json:"bytes"`   // copied
	Damaged   int    `json:"damaged"` // files that differ from their digest, or cannot be read
	Deleted   int    `json:"deleted"` // snapshots
}

// Config describes one backup.
type Config struct {
	Dir     string // storage.dir
	Version string // of this program
	Keep    int    // number of snapshots to keep; 0 keeps all
	// Damaged is called for a file that differs from its digest, is missing or cannot be
	// read, and for a set that was set aside. It is not in the backup; of its set, the
	// original is. No snapshot is deleted then.
	Damaged func(file string, err error)
}

// records are the directories of small files, in the order in which they are
// read: a webhook is written before its job's end.
var records = []string{"queue/pending", "queue/running", "queue/pending", "queue/done", "queue/failed", "outbox", "outbox/failed", "quarantine", "index", "index/deleting", "."}

// single are the small files that are not in a directory of their own.
var single = []string{"url-key", "clock", "recipes"}

type backup struct {
	Config
	store  Store
	blobs  blobTable        // as listed when the backup began
	added  map[string]int64 // bytes of each blob that was stored since, by its digest
	listed map[string]bool  // paths in the snapshot
	found  []entry
	totals Totals
}

// Run makes a backup.
func Run(ctx context.Context, c Config, store Store) (Totals, error) {
	if _, err := os.Stat(filepath.Join(c.Dir, "queue")); err != nil {
		return Totals{}, fmt.Errorf("%s is not the data folder of a daemon: %w", c.Dir, err)
	}
	if err := Complete(c.Dir); err != nil {
		return Totals{}, err
	}
	b := &backup{Config: c, store: store, added: make(map[string]int64), listed: make(map[string]bool)}
	if err := b.blobs.list(ctx, store); err != nil {
		return b.totals, err
	}
	began := time.Now().UTC()
	for _, dir := range records {
		if err := b.records(ctx, dir); err != nil {
			return b.totals, err
		}
	}
	if err := b.sets(ctx); err != nil {
		return b.totals, err
	}
	name, err := newName(ctx, store, began)
	if err != nil {
		return b.totals, err
	}
	data, err := encode(header{Version: formatVersion, CreatedAt: began, Optimizerd: c.Version}, b.found)
	if err != nil {
		return b.totals, err
	}
	if err := store.PutSnapshot(ctx, name, data); err != nil {
		return b.totals, err
	}
	b.totals.Snapshot = name
	if c.Keep > 0 && b.totals.Damaged == 0 { // otherwise older snapshots may have what this one lacks
		if b.totals.Deleted, err = b.prune(ctx); err != nil {
			err = fmt.Errorf("this backup is complete, but older snapshots cannot be deleted: %w", err)
		}
	}
	return b.totals, err
}

// newName returns the name of a snapshot, which sorts by time.
func newName(ctx context.Context, store Store, at time.Time) (string, error) {
	names, err := store.Snapshots(ctx)
	if err != nil {
		return "", err
	}
	name := at.Format(nameLayout)
	if len(names) > 0 && name <= names[len(names)-1] {
		newest := names[len(names)-1]
		return "", fmt.Errorf("the newest snapshot is %s, which is not before now: another backup runs, or this machine's clock is wrong, or was wrong then: in that case delete %s/%s%s", newest, snapshotsDir, newest, snapshotExt)
	}
	return name, nil
}

// records adds the records of a directory.
func (b *backup) records(ctx context.Context, dir string) error {
	names := single
	if dir != "." {
		entries, err := os.ReadDir(filepath.Join(b.Dir, filepath.FromSlash(dir)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		names = nil
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") {
				names = append(names, e.Name())
			}
		}
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.record(ctx, path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// record adds one record, with the source of a job that has not ended.
func (b *backup) record(ctx context.Context, name string) error {
	if b.listed[name] {
		return nil
	}
	id := strings.TrimSuffix(path.Base(name), ".json")
	unended := strings.HasPrefix(name, "queue/pending/") || strings.HasPrefix(name, "queue/running/")
	content, modified, err := readRecord(filepath.Join(b.Dir, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has moved to a directory that is read later, or its work is done
	}
	if err != nil {
		b.damaged(name, err)
		return nil
	}
	if unended {
		j, err := job.Decode(content)
		if err != nil {
			return nil //nolint:nilerr // the daemon sets it aside
		}
		if ok, err := b.source(ctx, j); err != nil || !ok {
			return err
		}
		if b.listed["queue/pending/"+id+".json"] {
			return nil
		}
	}
	if strings.HasPrefix(name, "queue/failed/") {
		if err := b.retry(ctx, id, content); err != nil {
			return err
		}
	}
	b.listed[name] = true
	b.found = append(b.found, entry{Path: name, Content: content, Modified: modified})
	b.totals.Records++
	return nil
}

func readRecord(path string) (content []byte, modified time.Time, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, modified, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, modified, err
	}
	content, err = io.ReadAll(f)
	return content, info.ModTime(), err
}

// retry adds the source of a failed upload, if it is kept for a retry.
func (b *backup) retry(ctx context.Context, jobID string, record []byte) error {
	j, err := job.Decode(record)
	if err != nil || j.Input != "" {
		return nil //nolint:nilerr // the daemon sets it aside
	}
	name := "retry/" + jobID
	bytes, err := b.blob(ctx, name, j.Source.SHA256)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // the job cannot be retried any more
	case isLocal(err):
		b.damaged(name, err)
		return nil
	case err != nil:
		return err
	}
	b.found = append(b.found, entry{Path: name, SHA256: j.Source.SHA256, Bytes: bytes})
	b.totals.Sources++
	return nil
}

// source adds the source of a job that has not ended. ok is false if the job has
// ended meanwhile: then its record is elsewhere.
func (b *backup) source(ctx context.Context, j job.Job) (ok bool, err error) {
	name := "spool/" + j.Source.SHA256
	if !j.Resolved() || b.listed[name] {
		return true, nil
	}
	bytes, err := b.blob(ctx, name, j.Source.SHA256)
	if errors.Is(err, fs.ErrNotExist) {
		for _, dir := range []string{"pending", "running"} {
			if _, err := os.Stat(filepath.Join(b.Dir, "queue", dir, j.ID+".json")); err == nil {
				return true, nil // its set is published, or its source is in a bucket
			}
		}
		return false, nil
	}
	if isLocal(err) {
		b.damaged(name, err)
		return true, nil // the job fails
	}
	if err != nil {
		return false, err
	}
	b.listed[name] = true
	b.found = append(b.found, entry{Path: name, SHA256: j.Source.SHA256, Bytes: bytes})
	b.totals.Sources++
	return true, nil
}

func (b *backup) damaged(name string, err error) {
	b.totals.Damaged++
	if b.Damaged != nil {
		b.Damaged(name, err)
	}
}

// errDamaged means that a file differs from its digest.
var errDamaged = &localError{errors.New("it differs from its digest; 'optimizerd verify --repair' sets the set aside")}

// isLocal reports whether an error is about one file of the data folder: the others can
// be copied.
func isLocal(err error) bool {
	var local *localError
	return errors.As(err, &local)
}

// blob stores a file under its digest, unless the store has it, and marks it as needed.
// A file that the store has is not read, but it must exist.
func (b *backup) blob(ctx context.Context, name, digest string) (bytes int64, err error) {
	b.mark(digest, needed)
	f, err := os.Open(filepath.Join(b.Dir, filepath.FromSlash(name)))
	if err != nil {
		return 0, &localError{err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, &localError{err}
	}
	if b.has(digest, info.Size()) {
		return info.Size(), nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return 0, &localError{err}
	}
	if hex.EncodeToString(hash.Sum(nil)) != digest {
		return 0, errDamaged
	}
	if err := b.store.Put(ctx, digest, info.Size(), f); err != nil {
		return 0, fmt.Errorf("store %s: %w", name, err)
	}
	b.added[digest] = info.Size()
	b.totals.Copied++
	b.totals.Bytes += info.Size()
	return info.Size(), nil
}

// has reports whether the store has a blob of this size.
func (b *backup) has(digest string, bytes int64) bool {
	if added, ok := b.added[digest]; ok {
		return added == bytes
	}
	stored := b.blobs.find(digest)
	return stored != nil && stored.bytes() == bytes
}

// digestOfFile returns the SHA-256 of a file.
func digestOfFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return hex.EncodeToString(hash.Sum(nil)), err
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
