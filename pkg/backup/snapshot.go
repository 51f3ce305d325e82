package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// nameLayout is that of the names of snapshots, which sort by time.
const nameLayout = "20060102T150405.000Z"

// snapshotName returns the name of the snapshot in a file, or not ok for another file:
// people and programs leave copies there.
func snapshotName(file string) (name string, ok bool) {
	name, ok = strings.CutSuffix(file, snapshotExt)
	_, err := time.Parse(nameLayout, name)
	return name, ok && err == nil
}

// formatVersion is the version of the format of snapshots.
const formatVersion = 1

// header is the first line of a snapshot; each other line is an entry.
type header struct {
	Version    int       `json:"version"`
	CreatedAt  time.Time `json:"created_at"`
	Optimizerd string    `json:"optimizerd"` // version of the program that made it
}

// entry is one file of the data folder: with its content, or the digest of a
// blob. The manifest of a set stands for its files.
type entry struct {
	Path     string    `json:"path"` // relative, with slashes
	Content  []byte    `json:"content,omitempty"`
	Modified time.Time `json:"modified,omitzero"` // of a record: its age counts
	SHA256   string    `json:"sha256,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"`
	Original bool      `json:"original,omitempty"` // the original of this set is in the backup
}

// isSet reports whether the entry is the manifest of a set.
func (e entry) isSet() bool { return path.Base(e.Path) == manifest.FileName }

// valid reports whether a path stays within the data folder.
func (e entry) valid() bool {
	return filepath.IsLocal(filepath.FromSlash(e.Path)) && !strings.Contains(e.Path, `\`)
}

func encode(h header, entries []entry) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	lines := json.NewEncoder(z)
	err := lines.Encode(h)
	for _, e := range entries {
		err = errors.Join(err, lines.Encode(e))
	}
	err = errors.Join(err, z.Close()) // writes the rest
	return b.Bytes(), err
}

// versionError is about a snapshot of another version of the format.
type versionError struct{ header }

func (e *versionError) Error() string {
	return fmt.Sprintf("the snapshot has version %d of the format, and this program knows %d: restore it with optimizerd %s or newer", e.Version, formatVersion, e.Optimizerd)
}

// readSnapshot returns the entries of a snapshot.
func readSnapshot(ctx context.Context, store Store, name string) ([]entry, error) {
	data, err := store.GetSnapshot(ctx, name)
	if err != nil {
		return nil, err
	}
	entries, err := decode(data)
	var version *versionError
	if err != nil && !errors.As(err, &version) {
		return nil, fmt.Errorf("snapshot %s is damaged: %w; restore another one with --snapshot, and delete %s", name, err, snapshotsDir+"/"+name+snapshotExt)
	}
	return entries, err
}

func decode(data []byte) (entries []entry, err error) {
	err = eachEntry(data, func(e entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// eachEntry calls f for each entry of an encoded snapshot, until it returns an error.
func eachEntry(data []byte, f func(entry) error) error {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	lines := json.NewDecoder(bufio.NewReader(z))
	var h header
	if err := lines.Decode(&h); err != nil {
		return err
	}
	if h.Version != formatVersion {
		return &versionError{h}
	}
	for {
		var e entry
		err := lines.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && !e.valid() {
			err = fmt.Errorf("%.100q is not a path in a data folder", e.Path)
		}
		if err == nil {
			err = f(e)
		}
		if err != nil {
			return err
		}
	}
}

// readManifest returns the manifest that an entry names.
func readManifest(ctx context.Context, store Store, e entry) (content []byte, m manifest.Manifest, err error) {
	r, err := store.Get(ctx, e.SHA256)
	if err != nil {
		return nil, m, err
	}
	content, err = io.ReadAll(r)
	err = errors.Join(err, r.Close())
	if err == nil && digestOf(content) != e.SHA256 {
		err = errors.New("the backup's copy differs from its digest; 'optimizerd backup verify --repair' sets it aside, and the next backup copies it again")
	}
	if err == nil {
		m, err = decodeManifest(e.Path, content)
	}
	if err != nil {
		return nil, m, fmt.Errorf("%s: %w", e.Path, err)
	}
	return content, m, nil
}

// decodeManifest decodes the manifest whose path in the data folder is file.
func decodeManifest(file string, content []byte) (m manifest.Manifest, err error) {
	m, err = manifest.Decode(content)
	if err == nil && file != path.Join("files", m.ID, manifest.FileName) {
		err = fmt.Errorf("it is the manifest of %s", m.ID)
	}
	return m, err
}
