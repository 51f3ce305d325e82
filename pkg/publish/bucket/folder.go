package bucket

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/optimizerd/optimizerd/pkg/durable"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// folder is an Index of one process: a record per published set, and one in
// deleting/ per set whose objects are being deleted. The locks of the store order all
// changes, so revisions are not used.
type folder struct {
	sets     durable.Folder[record]
	deleting durable.Folder[record]
	lock     *durable.Lock // held while the index is open, against a second process
}

// record is an entry of the index. Its file has the time of the set, the sort key of
// listings, across restarts.
type record struct {
	Manifest json.RawMessage `json:"manifest"`
	Original int64           `json:"original"` // bytes; 0 if none is kept
}

var records = durable.Format[record]{
	ValidID: ladder.ValidID,
	Encode:  func(r record) ([]byte, error) { return json.Marshal(r) },
	Decode: func(_ string, data []byte) (r record, err error) {
		err = strictjson.Unmarshal(data, &r)
		return r, err
	},
}

// openFolder creates the directories and takes the lock.
func openFolder(dir string) (x folder, err error) {
	x.sets = durable.OpenFolder(dir, records)
	x.deleting = durable.OpenFolder(filepath.Join(dir, "deleting"), records)
	if err := x.deleting.Create(); err != nil {
		return x, err
	}
	x.lock, err = durable.LockDir(dir)
	return x, err
}

// Indexed returns the ids, sorted, of the sets that the index in a directory has. Another
// process may have it open.
func Indexed(dir string) ([]string, error) {
	ids, err := durable.OpenFolder(dir, records).IDs()
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return ids, nil
}

// Load implements Index.
func (x folder) Load(added func(id string, at time.Time), _ func(id string)) error {
	ids, err := x.sets.IDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		at, err := x.sets.Modified(id)
		if err != nil {
			return err
		}
		added(id, at)
	}
	return nil
}

// Marked implements Index.
func (x folder) Marked() ([]string, error) { return x.deleting.IDs() }

// Look implements Index.
func (x folder) Look(id string) (Entry, Revision, error) {
	r, err := x.sets.Read(id)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{Deleting: x.deleting.Has(id)}, 0, nil
	}
	if err != nil {
		return Entry{}, 0, fmt.Errorf("read index: %w", err)
	}
	return Entry{Published: true, Manifest: r.Manifest, Original: r.Original}, 0, nil
}

// Commit implements Index.
func (x folder) Commit(m manifest.Manifest, original int64, _ Revision) error {
	encoded, err := m.Encode()
	if err == nil {
		err = x.sets.Write(m.ID, record{Manifest: encoded, Original: original})
	}
	if err == nil {
		err = x.sets.SetModified(m.ID, m.CreatedAt.Time)
	}
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// Mark implements Index.
func (x folder) Mark(id string, _ Revision) error {
	if !x.sets.Has(id) { // removed by hand; its objects must go nevertheless
		return x.deleting.Write(id, record{})
	}
	if err := x.sets.MoveTo(x.deleting, id); err != nil {
		return err
	}
	return errors.Join(x.deleting.Sync(), x.sets.Sync())
}

// Unmark implements Index. A mark that survives a power cut does no harm: deleting
// is repeated.
func (x folder) Unmark(id string, _ Revision) error {
	_, err := x.deleting.Remove(id)
	return err
}

// Remove implements Index.
func (x folder) Remove(id string, _ Revision) error {
	_, err := x.sets.Remove(id)
	return err
}

// Close implements Index.
func (x folder) Close() error { return x.lock.Close() }
