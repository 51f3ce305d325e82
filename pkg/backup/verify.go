package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/optimizerd/optimizerd/pkg/job"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/verify"
)

// VerifyConfig says what to check of a backup.
type VerifyConfig struct {
	Snapshot string // the only snapshot to check; "" for all
	Quick    bool   // presence and sizes of files; only manifests are read
	// Report is called for each problem, by one goroutine at a time.
	Report func(Problem)
	// Progress is called when a part of the work is done, by one goroutine at a time. It
	// may be nil. stage is "snapshots", "files" (the list of them) or "sets"; total is 0 if
	// it is not known.
	Progress func(stage string, done, total int)
	// Repair opens the store for writing, exclusively if it can be locked, to set a damaged
	// blob aside. nil leaves them where they are.
	Repair func() (Store, error)
}

// Kind is a kind of problem.
type Kind string

// The kinds. Those of files are named as in package verify.
const (
	MissingFile     Kind = "missing_file"
	DamagedFile     Kind = "damaged_file"     // its size or digest is wrong
	DamagedManifest Kind = "damaged_manifest" // its content is as backed up, but this program cannot decode it
	DamagedRecord   Kind = "damaged_record"   // the daemon would set it aside after a restore
	DamagedSnapshot Kind = "damaged_snapshot" // nothing of it can be restored
	NewerSnapshot   Kind = "newer_snapshot"   // this program cannot read it
	Unreadable      Kind = "unreadable"       // a file that may be sound: this user may not read it, for example
)

// Problem is something that a restore would miss.
type Problem struct {
	Kind      Kind     `json:"kind"`
	File      string   `json:"file"`            // in storage.dir, or of the snapshot in the backup
	Image     string   `json:"image,omitempty"` // id, if it is a file of an image
	Blob      string   `json:"blob,omitempty"`  // name of the file in blobs: its SHA-256
	Detail    string   `json:"detail,omitempty"`
	Snapshots []string `json:"snapshots"` // that need it, oldest first
	SetAside  bool     `json:"set_aside"` // the next backup copies it again
}

// VerifyTotals is what was checked.
type VerifyTotals struct {
	Snapshots []SnapshotTotals `json:"snapshots"` // oldest first
	Sets      int              `json:"sets"`      // different ones in all snapshots
	Files     int              `json:"files"`     // blobs that the snapshots need; each is checked once
	Bytes     int64            `json:"bytes"`     // that were read
	Damaged   int              `json:"damaged"`   // problems
	SetAside  int              `json:"set_aside"` // blobs
}

// SnapshotTotals is what a snapshot contains, and how much of it is damaged.
type SnapshotTotals struct {
	Snapshot  string `json:"snapshot"`
	Sets      int    `json:"sets"`
	Originals int    `json:"originals"`
	Records   int    `json:"records"`
	Sources   int    `json:"sources"`
	Damaged   int    `json:"damaged"` // problems
}

// readersAtOnce is the number of sets that are checked at once.
const readersAtOnce = 4

// readAttempts is how often a blob is read if the connection to the store breaks.
const readAttempts = 3

type verifier struct {
	VerifyConfig
	store     Store
	snapshots []snapshot
	history   history
	refs      []reference
	index     map[referenceKey]int // in refs; nil once all snapshots are read
	records   []badRecord
	stored    blobTable

	repair sync.Mutex // held while Repair's store is open
	mu     sync.Mutex // of what follows, and of the states of blobs
	read   sync.Cond  // signals that a blob was read
	bad    map[*storedBlob]finding
	totals VerifyTotals
	done   int // sets and sources
}

// snapshot is the state of one snapshot.
type snapshot struct {
	SnapshotTotals

	gone     bool // deleted meanwhile
	unusable bool // it cannot be read
}

// reference is a file that snapshots name by its digest. A manifest stands for its set.
type reference struct {
	referenceKey

	bytes    int64
	in       period // the snapshots that name it
	original period // the snapshots that have the original of the set
}

type referenceKey struct {
	path   string
	digest [sha256.Size]byte
}

func (r *reference) sha256() string { return hex.EncodeToString(r.digest[:]) }

// badRecord is a record that cannot be decoded.
type badRecord struct {
	path   string
	detail string
	in     period
}

// Verify checks whether the snapshots of a backup can be restored. It reads each blob once,
// or only the manifests if c.Quick is set, and changes nothing without c.Repair. Problems
// are reported and are not errors: an error means that the check is incomplete.
//
// A backup may run meanwhile. Its new snapshot is not checked, and those that it deletes
// have no problems: it deletes them before their blobs, and a blob that is missing is
// compared with the snapshots that still exist.
func Verify(ctx context.Context, c VerifyConfig, store Store) (VerifyTotals, error) {
	v := &verifier{VerifyConfig: c, store: store, index: make(map[referenceKey]int), bad: make(map[*storedBlob]finding)}
	v.read.L = &v.mu
	if v.Progress == nil {
		v.Progress = func(string, int, int) {}
	}
	err := v.run(ctx)
	for _, s := range v.snapshots {
		if !s.gone {
			v.totals.Snapshots = append(v.totals.Snapshots, s.SnapshotTotals)
		}
	}
	if err == nil && len(v.totals.Snapshots) == 0 {
		err = errors.New("the snapshots were deleted meanwhile; run the command again")
	}
	return v.totals, err
}

func (v *verifier) run(ctx context.Context) error {
	if err := v.readSnapshots(ctx); err != nil {
		return err
	}
	v.Progress("files", 0, 0)
	if err := v.stored.list(ctx, v.store); err != nil {
		return err
	}
	// A backup deletes snapshots before their blobs. So if it deleted blobs before this list,
	// their snapshots are gone by now.
	if err := v.refresh(ctx); err != nil {
		return err
	}
	for _, r := range v.records {
		p := Problem{Kind: DamagedRecord, File: r.path, Detail: r.detail}
		if err := v.report(ctx, p, r.in, false); err != nil {
			return err
		}
	}
	return v.checkAll(ctx)
}

// readSnapshots reads what the snapshots contain.
func (v *verifier) readSnapshots(ctx context.Context) error {
	newest, err := find(ctx, v.store, v.Snapshot)
	if err != nil {
		return err
	}
	names := []string{newest}
	if v.Snapshot == "" {
		if names, err = v.store.Snapshots(ctx); err != nil {
			return err
		}
	}
	for i, name := range names {
		v.Progress("snapshots", i, len(names))
		v.snapshots = append(v.snapshots, snapshot{SnapshotTotals: SnapshotTotals{Snapshot: name}})
		err := v.readSnapshot(ctx, i)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p := Problem{File: snapshotsDir + "/" + name + snapshotExt}
		var (
			version *versionError
			store   *storeError
		)
		switch {
		case err == nil:
			continue
		case errors.Is(err, fs.ErrNotExist):
			v.snapshots[i].gone = true
			continue
		case errors.As(err, &version):
			p.Kind, p.Detail = NewerSnapshot, version.Error()
		case !errors.As(err, &store):
			p.Kind, p.Detail = DamagedSnapshot, err.Error()
		case isOfFile(err):
			p.Kind, p.Detail = DamagedSnapshot.orUnreadable(err), err.Error()
		default:
			return store.error
		}
		if err := v.report(ctx, p, v.history.add(0, i), false); err != nil {
			return err
		}
		v.snapshots[i] = snapshot{SnapshotTotals: SnapshotTotals{Snapshot: name, Damaged: 1}, unusable: true} // discards what was read of it
	}
	v.index = nil
	return nil
}

// storeError is an error of reading from the store.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

// readSnapshot adds what a snapshot contains.
func (v *verifier) readSnapshot(ctx context.Context, i int) error {
	var data []byte
	err := retry(ctx, func() (err error) {
		data, err = v.store.GetSnapshot(ctx, v.snapshots[i].Snapshot)
		return err
	})
	if err != nil {
		return &storeError{err}
	}
	damagedRecords := make(map[string]int) // of this snapshot or earlier ones
	for n, r := range v.records {
		damagedRecords[r.path+"\n"+r.detail] = n
	}
	return eachEntry(data, func(e entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.SHA256 != "" && e.Content == nil && manifest.ValidSHA256(e.SHA256) {
			v.addReference(i, e)
			return nil
		}
		v.snapshots[i].Records++
		if err := decodeRecord(e); err != nil {
			key := e.Path + "\n" + err.Error()
			n, ok := damagedRecords[key]
			if !ok {
				n = len(v.records)
				damagedRecords[key] = n
				v.records = append(v.records, badRecord{path: e.Path, detail: err.Error()})
			}
			v.records[n].in = v.history.add(v.records[n].in, i)
		}
		return nil
	})
}

// addReference adds the files that an entry of snapshot i stands for.
func (v *verifier) addReference(i int, e entry) {
	key := referenceKey{path: e.Path}
	_, _ = hex.Decode(key.digest[:], []byte(e.SHA256)) // it is valid
	n, ok := v.index[key]
	if !ok {
		n = len(v.refs)
		v.index[key] = n
		v.refs = append(v.refs, reference{referenceKey: key, bytes: e.Bytes})
	}
	r := &v.refs[n]
	r.in = v.history.add(r.in, i)
	if e.Original {
		r.original = v.history.add(r.original, i)
	}
	s := &v.snapshots[i]
	switch {
	case e.isSet():
		s.Sets++
	case strings.HasPrefix(e.Path, "originals/"):
		s.Originals++
	default:
		s.Sources++
	}
	if e.Original {
		s.Originals++
	}
}

// decodeRecord returns an error if the daemon could not decode a record.
func decodeRecord(e entry) error {
	switch {
	case e.SHA256 != "" && e.Content == nil:
		return fmt.Errorf("%.70q is not a digest", e.SHA256)
	case strings.HasPrefix(e.Path, "queue/"):
		_, err := job.Decode(e.Content)
		return err
	case strings.HasPrefix(e.Path, asideDir+"/") || path.Ext(e.Path) != ".json":
		return nil // the manifest of a set that was damaged before, a key, or an empty file
	case !json.Valid(e.Content):
		return errors.New("it is not JSON")
	}
	return nil
}

// refresh finds out which snapshots were deleted meanwhile.
func (v *verifier) refresh(ctx context.Context) error {
	names, err := v.store.Snapshots(ctx)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.snapshots {
		if s := &v.snapshots[i]; !slices.Contains(names, s.Snapshot) {
			s.gone = true
		}
	}
	return nil
}

// checkAll checks the sets and the sources, several at once, with the lowest priority.
func (v *verifier) checkAll(ctx context.Context) error {
	v.Progress("sets", 0, len(v.refs))
	refs := make(chan *reference)
	group, ctx := errgroup.WithContext(ctx)
	for range readersAtOnce {
		group.Go(func() error {
			runtime.LockOSThread() // never unlocked: the thread ends with its priority
			verify.Yield()
			for r := range refs {
				if err := v.check(ctx, r); err != nil {
					return err
				}
				v.mu.Lock()
				v.done++
				v.Progress("sets", v.done, len(v.refs))
				v.mu.Unlock()
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(refs)
		for i := range v.refs {
			select {
			case refs <- &v.refs[i]:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return group.Wait()
}

// check checks what a reference stands for, unless all snapshots that name it are gone.
func (v *verifier) check(ctx context.Context, r *reference) error {
	if len(v.needing(r.in)) == 0 {
		return nil
	}
	if path.Base(r.path) != manifest.FileName {
		return v.checkFile(ctx, Problem{File: r.path, Image: imageOf(r.path), Blob: r.sha256()}, r.bytes, r.in)
	}
	v.mu.Lock()
	v.totals.Sets++
	v.mu.Unlock()
	m, ok, err := v.manifest(ctx, r)
	if !ok || err != nil {
		return err
	}
	for _, f := range m.Variants {
		p := Problem{File: path.Join(path.Dir(r.path), f.Name()), Image: m.ID, Blob: f.SHA256}
		if err := v.checkFile(ctx, p, f.Bytes, r.in); err != nil {
			return err
		}
	}
	if r.original == 0 {
		return nil
	}
	return v.checkFile(ctx, Problem{File: "originals/" + m.ID, Image: m.ID, Blob: m.Source.SHA256}, m.Source.Bytes, r.original)
}

// imageOf returns the id in the path of a file, or "".
func imageOf(file string) string {
	switch parts := strings.Split(file, "/"); {
	case parts[0] == "files" && len(parts) == 3, parts[0] == "originals" && len(parts) == 2:
		return parts[1]
	}
	return ""
}

// needing returns the snapshots of a period that can be restored.
func (v *verifier) needing(in period) (snapshots []int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(v.history.snapshots(in), func(i int) bool { return v.snapshots[i].gone || v.snapshots[i].unusable })
}

// report reports a problem of the snapshots of a period, unless all of them are gone. If a
// file has vanished, it finds out first whether they are.
func (v *verifier) report(ctx context.Context, p Problem, in period, vanished bool) error {
	if vanished {
		if err := v.refresh(ctx); err != nil {
			return err
		}
	}
	needing := v.needing(in)
	if len(needing) == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, i := range needing {
		v.snapshots[i].Damaged++
		p.Snapshots = append(p.Snapshots, v.snapshots[i].Snapshot)
	}
	v.totals.Damaged++
	v.Report(p)
	return nil
}
